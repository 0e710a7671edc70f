"""Broken, hostile and impatient clients of a real gateway, over real sockets."""

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import grpc
import numpy as np
import pytest

from gateway.oip import inference_pb2 as pb
from gateway.registry.keys import local_signing_key
from gateway.wire import HEADER_LENGTH, decode_answer, encode_request
from models.bytes_tensor import as_elements, cut_elements, join_elements
from tests.e2e.conftest import Running, gateway
from tests.fuzz.generator import bad_requests
from tests.fuzz.pair import build_pair
from tests.fuzz.raw import GOOD, RAW, shout, write

pytestmark = pytest.mark.e2e

GENERATED = 300
SLOW_S = 10.0
LEAVERS = 300
ASKED, AT_ONCE, IDS = 10_000, 500, 10
TRIES = 20
COME_BACK = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
MODEL = "/v2/models/pair"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("hostile")
    bundle = build_pair(root, local_signing_key(root / "state" / "keys"), budget_ms=30_000)
    replicas = {"HANDRAIL__SERVING__REPLICAS": "2"}
    with gateway(root / "state", **replicas) as running, running.client() as client:
        client.register(bundle.path, as_="live")
        yield running


def is_well(running: Running) -> bool:
    return shout(running.url, GOOD).statuses == (200,)


def test_broken_http_gets_no_5xx_and_the_next_request_is_answered(running: Running) -> None:
    wrong = {}
    for name, raw in RAW.items():
        heard = shout(running.url, raw)
        is_refused = all(100 <= status < 500 or status == 501 for status in heard.statuses)
        if not is_refused or heard.took_s > SLOW_S or not is_well(running):
            wrong[name] = heard

    assert wrong == {}


def test_a_request_hidden_in_a_body_is_never_answered_as_part_of_it(running: Running) -> None:
    hidden = shout(running.url, RAW["length and chunks"])

    assert hidden.statuses.count(200) == 0


def test_generated_requests_get_no_5xx_through_haproxy(
    running: Running, pytestconfig: pytest.Config
) -> None:
    seed = pytestconfig.getoption("--bad-seed")
    statuses: Counter[int] = Counter()
    wrong = []
    for sent in bad_requests(GENERATED, seed):
        heard = shout(running.url, write(sent))
        statuses.update(heard.statuses)
        if any(status >= 500 and status != 501 for status in heard.statuses):
            wrong.append((sent, heard))

    assert wrong == []
    assert statuses[400] > GENERATED / 2
    assert is_well(running)


def test_clients_that_hang_up_leave_nothing_behind(running: Running) -> None:
    rng = random.Random(7)
    target = urlsplit(running.url)
    for _ in range(LEAVERS):
        with socket.create_connection((target.hostname, target.port)) as connection:
            connection.sendall(GOOD[: rng.choice((10, len(GOOD) - 10, len(GOOD)))])
            if rng.random() < 0.5:  # a reset in place of a friendly end
                linger = b"\1\0\0\0\0\0\0\0"
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    with running.client() as client:
        x, s = np.ones((1, 2), np.float32), as_elements([b"a"], (1, 1))
        answers = [client.infer("pair", {"x": x, "s": s}) for _ in range(20)]
    assert {answer.served_by for answer in answers} == {"model"}


def test_answers_never_cross_where_ids_collide(running: Running) -> None:
    crossed = asyncio.run(ask_with_colliding_ids(running))

    assert crossed == []


async def ask_with_colliding_ids(running: Running) -> list[int]:
    """Ask about 10,000 different rows under 10 ids; return whose answer was not its own."""
    seats = asyncio.Semaphore(AT_ONCE)
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    async with (
        aiohttp.ClientSession(running.url, connector=connector) as session,
        grpc.aio.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel,
    ):

        async def has_crossed(number: int) -> bool:
            x = np.array([[number, -number]], np.float32)
            s = as_elements([b"row %d" % number], (1, 1))
            async with seats:
                if number % 3 == 0:
                    y, t = await ask_grpc(channel, x, s, f"id-{number % IDS}")
                else:
                    is_binary = number % 3 == 1
                    y, t = await ask_rest(session, x, s, f"id-{number % IDS}", binary=is_binary)
            return (y.tolist(), t.tolist()) != (x.tolist(), s.tolist())

        found = await asyncio.gather(*map(has_crossed, range(ASKED)))
    return [number for number, crossed in enumerate(found) if crossed]


async def ask_rest(
    session: aiohttp.ClientSession, x: Any, s: Any, same_id: str, *, binary: bool
) -> tuple[Any, Any]:
    """Ask over HTTP; who is told to come back later does."""
    body, json_bytes = encode_request(
        {"x": x, "s": s}, timeout_ms=None, outputs=(), binary=binary, request_id=same_id
    )
    headers = {"x-request-id": same_id} | ({HEADER_LENGTH: str(json_bytes)} if binary else {})
    for _ in range(TRIES):
        async with session.post(f"{MODEL}/infer", data=body, headers=headers) as response:
            content = await response.read()
        if response.status != 503:
            break
        await asyncio.sleep(float(response.headers["retry-after"]))
    assert response.status == 200, content
    outputs = decode_answer(content, response.headers.get(HEADER_LENGTH)).outputs
    return outputs["y"], outputs["t"]


async def ask_grpc(channel: grpc.aio.Channel, x: Any, s: Any, same_id: str) -> tuple[Any, Any]:
    """Ask over gRPC, with raw contents."""
    ask = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer",
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelInferResponse.FromString,
    )
    message = pb.ModelInferRequest(model_name="pair", id=same_id)
    message.inputs.add(name="x", datatype="FP32", shape=x.shape)
    message.inputs.add(name="s", datatype="BYTES", shape=s.shape)
    message.raw_input_contents.extend([x.tobytes(), join_elements(s)])
    for attempt in range(TRIES):
        try:
            answer = await ask(message, metadata=(("x-request-id", same_id),))
            break
        except grpc.aio.AioRpcError as error:
            if error.code() not in COME_BACK or attempt == TRIES - 1:
                raise
            await asyncio.sleep(1)
    parts = dict(zip((o.name for o in answer.outputs), answer.raw_output_contents, strict=True))
    return np.frombuffer(parts["y"], "<f4").reshape(1, 2), cut_elements(parts["t"], (1, 1))
