"""Every lie of the binary tensor extension in up to three places of one request."""

import random
from typing import Any

import pytest

from gateway.errors import BadRequestError
from gateway.serving.codec import decode_inputs
from gateway.serving.rest import parse_envelope
from models.bundle import Bundle
from models.signing import SigningKey
from tests.fuzz.asgi import Sent, ask
from tests.fuzz.judge import complaints
from tests.fuzz.lies import HEADER_LENGTH, S_DATA, X_PART, Claim, claims, is_true
from tests.fuzz.pair import SIGNATURE, build_pair

ASKED = 500  # of the ingress; the rest goes to the decoder alone


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Bundle:
    return build_pair(tmp_path_factory.mktemp("pair"), key)


def decodes(claim: Claim) -> bool:
    """Whether the decoder takes it; whatever it raises but a typed refusal fails the test."""
    body, told = claim.message()
    try:
        decode_inputs(parse_envelope(body, told, SIGNATURE), SIGNATURE)
    except BadRequestError:
        return False
    return True


def test_exactly_the_true_requests_are_decoded() -> None:
    tried = list(claims(3))

    wrong = [claim for claim in tried if decodes(claim) != is_true(claim)]

    assert len(tried) > 30_000
    assert wrong == []


def test_the_truth_arrives_as_it_was_sent() -> None:
    body, told = Claim().message()

    inputs, rows = decode_inputs(parse_envelope(body, told, SIGNATURE), SIGNATURE)

    assert rows == 2
    assert inputs["x"].tobytes() == X_PART
    assert [item.decode() for item in inputs["s"].ravel()] == S_DATA


async def test_the_ingress_refuses_what_the_decoder_refuses(serve: Any, pair: Bundle) -> None:
    served = await serve(pair)
    tried = [Claim(), *random.Random(3).sample(list(claims(3)), ASKED)]

    wrong = []
    for claim in tried:
        body, told = claim.message()
        headers = () if told is None else ((HEADER_LENGTH, told),)
        reply = await ask(served.ingress, Sent(body, headers))
        if complaints(reply) or (reply.status == 200) != is_true(claim):
            wrong.append((claim, reply))

    assert wrong == []
