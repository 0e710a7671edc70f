"""Every named fault gets its own code and a sentence without user data, and quickly."""

import gzip
import zlib
from typing import Any

import orjson
import pytest

from gateway.errors import BAD_REQUEST_CODES
from models.bundle import Bundle
from models.signing import SigningKey
from tests.fuzz.asgi import Sent, ask
from tests.fuzz.faults import (
    BODY_MAX_BYTES,
    FAULTS,
    binary,
    message,
    strange,
    with_parameters,
)
from tests.fuzz.judge import code_of, complaints
from tests.fuzz.pair import build_pair


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Bundle:
    return build_pair(tmp_path_factory.mktemp("pair"), key)


async def test_a_fault_gets_its_own_code_and_a_sentence_without_user_data(
    serve: Any, pair: Bundle
) -> None:
    served = await serve(pair, max_body_bytes=BODY_MAX_BYTES)

    wrong = {}
    for fault in FAULTS:
        sent = Sent(fault.body, fault.headers, chunk_bytes=fault.chunk_bytes)
        reply = await ask(served.ingress, sent)
        problems = complaints(reply)
        if (reply.status, code_of(reply)) != (fault.status, fault.code):
            problems.append(f"{reply.status} {code_of(reply)}, not {fault.status} {fault.code}")
        if problems:
            wrong[fault.name] = problems

    assert wrong == {}


def test_every_code_of_a_bad_request_is_tested() -> None:
    tested = {fault.code for fault in FAULTS if fault.status == 400}

    # "bad_request" is for what has no code of its own: the management API and feedback
    assert tested | {"bad_request"} == BAD_REQUEST_CODES


@pytest.mark.parametrize(
    "sent",
    [
        Sent(message()),
        Sent(message(), headers=((b"content-type", b"application/x-www-form-urlencoded"),)),
        Sent(gzip.compress(message()), headers=((b"content-encoding", b" GZIP "),)),
        Sent(zlib.compress(message()), headers=((b"content-encoding", b"deflate"),)),
        Sent(message(), chunk_bytes=1),
        Sent(with_parameters('{"timeout": 0, "priority": 0, "sequence_id": 0, "other": "a:b"}')),
        Sent(strange('{"a": [1, {"b": "c:d"}], "c": null}')),
        Sent(binary("", "").body, headers=binary("", "").headers),
    ],
)
async def test_what_only_looks_broken_is_answered(serve: Any, pair: Bundle, sent: Sent) -> None:
    served = await serve(pair)

    reply = await ask(served.ingress, sent)

    assert reply.status == 200, reply.body
    assert orjson.loads(reply.body)["model_name"] == "pair"
