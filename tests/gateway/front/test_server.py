"""The front over real sockets: stock gRPC in front of it, a scripted data plane behind it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2 as triton
from tritonclient.grpc import service_pb2_grpc

from gateway.config import load_config
from gateway.front.health import WATCHES_MAX
from gateway.front.seats import AT_ONCE_S, SEATS_MIN
from gateway.front.server import CALLS_MAX, NOT_SERVED, Front
from gateway.oip import MEDIA_TYPE

LIMIT_BYTES = 100_000
WINE = triton.ModelInferRequest(model_name="wine")
Status = grpc.StatusCode


@dataclass
class Plane:
    """A data plane that keeps what it was asked, and answers what the test says."""

    port: int = 0
    status: int = 200
    headers: str = ""
    body: bytes = b"{}"
    delay_s: float = 0.0
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def path(self) -> str:
        return self.seen[-1][0].split(" ")[1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await self._answer(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self.left.set()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        body = await reader.readexactly(int(headers["content-length"]))
        self.seen.append((first, headers, body))
        if self.delay_s:
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1), self.delay_s)
        head = f"HTTP/1.1 {self.status} x\r\ncontent-length: {len(self.body)}\r\n{self.headers}\r\n"
        writer.write(head.encode() + self.body)


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    plane = Plane()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        await plane.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    plane.port = server.sockets[0].getsockname()[1]
    async with server:
        yield plane
        await asyncio.gather(*tasks)  # the front has closed its connections


@pytest.fixture
async def channel(plane: Plane, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    config = load_config(
        tmp_path,
        server={"port": plane.port, "max_body_bytes": LIMIT_BYTES},
        serving={"max_in_flight_bytes": 3 * LIMIT_BYTES},
    )
    front = Front(config, port=0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{await front.start()}") as channel:
        yield channel
    await front.stop()


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> Any:
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


def raw(channel: grpc.aio.Channel, method: str) -> Any:
    return channel.unary_unary(f"/inference.GRPCInferenceService/{method}")


async def failure(call: Any) -> tuple[grpc.StatusCode, dict[str, Any]]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.details()
    return error.value.code(), dict(error.value.trailing_metadata())


async def test_a_message_goes_on_as_it_came_and_the_answer_comes_back_as_it_is(
    plane: Plane, channel: grpc.aio.Channel
) -> None:
    plane.body = b"\x01 any bytes"
    message = triton.ModelInferRequest(model_name="wine", model_version="2", id="7")

    answer = await raw(channel, "ModelInfer")(message.SerializeToString())

    [(first, headers, body)] = plane.seen
    assert answer == plane.body
    assert body == message.SerializeToString()
    assert first == "POST /v2/models/wine/versions/2/infer HTTP/1.1"
    assert headers["content-type"] == MEDIA_TYPE
    assert headers["host"] == "localhost"
    assert "x-request-timeout-ms" not in headers


async def test_metadata_becomes_headers_and_nothing_else_gets_through(
    plane: Plane, stub: Any
) -> None:
    plane.body = b""
    sent = {
        "authorization": "Bearer k",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "a=b",
        "x-request-id": "mine",
    }
    dropped = {"host": "evil", "content-length": "0", "cookie": "c", "x-request-timeout-ms": "9"}

    await stub.ModelInfer(WINE, metadata=tuple((sent | dropped).items()))

    [(_, headers, _)] = plane.seen
    assert headers == sent | {
        "host": "localhost",
        "content-type": MEDIA_TYPE,
        "content-length": str(WINE.ByteSize()),
    }


async def test_a_request_without_a_name_gets_one_and_so_does_its_failure(
    plane: Plane, stub: Any
) -> None:
    plane.status = 500

    _, told = await failure(stub.ModelInfer(WINE))

    assert told["x-request-id"] == plane.seen[0][1]["x-request-id"]


async def test_the_time_that_is_left_goes_along(plane: Plane, stub: Any) -> None:
    plane.body = b""

    await stub.ModelInfer(WINE, timeout=30)

    assert 25_000 < int(plane.seen[0][1]["x-request-timeout-ms"]) < 31_000


async def test_a_call_that_is_cancelled_or_too_late_leaves_the_data_plane(
    plane: Plane, stub: Any
) -> None:
    plane.delay_s = 30
    call = stub.ModelInfer(WINE)
    while not plane.seen:
        await asyncio.sleep(0.01)
    call.cancel()
    await asyncio.wait_for(plane.left.wait(), 5)

    plane.left.clear()
    assert (await failure(stub.ModelInfer(WINE, timeout=0.3)))[0] is Status.DEADLINE_EXCEEDED
    await asyncio.wait_for(plane.left.wait(), 5)


async def test_an_error_of_the_data_plane_keeps_its_code_sentence_and_time(
    plane: Plane, stub: Any
) -> None:
    plane.status, plane.headers = 503, "retry-after: 2\r\n"
    plane.body = json.dumps({"error": "busy", "code": "shed", "request_id": "r"}).encode()

    status, told = await failure(stub.ModelInfer(WINE))

    assert status is Status.RESOURCE_EXHAUSTED
    assert (told["handrail-code"], told["retry-after"]) == ("shed", "2")
    assert told["grpc-retry-pushback-ms"] == "2000"


async def test_no_data_plane_is_unavailable(plane: Plane, stub: Any, tmp_path: Path) -> None:
    front = Front(load_config(tmp_path, server={"port": 1}), port=0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{await front.start()}") as channel:
        lone = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert (await failure(lone.ModelInfer(WINE)))[0] is Status.UNAVAILABLE
        assert not (await lone.ServerReady(triton.ServerReadyRequest())).ready
    await front.stop()


@pytest.mark.parametrize("name", ["", "../../api/v1/keys", "a/b", "a b\r\nx: y", "stats", "A"])
async def test_a_name_that_no_model_has_never_reaches_the_data_plane(
    plane: Plane, stub: Any, name: str
) -> None:
    calls = [
        stub.ModelInfer(triton.ModelInferRequest(model_name=name)),
        stub.ModelMetadata(triton.ModelMetadataRequest(name=name)),
        stub.ModelConfig(triton.ModelConfigRequest(name=name)),
        stub.RepositoryModelLoad(triton.RepositoryModelLoadRequest(model_name=name)),
        stub.ModelReady(triton.ModelReadyRequest(name=name)),
    ]
    for call in calls:
        assert (await failure(call))[0] is Status.NOT_FOUND

    assert plane.seen == []


@pytest.mark.parametrize("method", ["ModelInfer", "ModelReady", "RepositoryIndex", "ServerLive"])
async def test_bytes_that_are_no_message_are_an_invalid_argument(
    plane: Plane, channel: grpc.aio.Channel, method: str
) -> None:
    status, told = await failure(raw(channel, method)(b"\xff\xff\xff"))

    assert (status, told["handrail-code"]) == (Status.INVALID_ARGUMENT, "malformed_request")
    assert plane.seen == []


async def test_limits_of_a_call(plane: Plane, stub: Any) -> None:
    big = triton.ModelInferRequest(model_name="wine", raw_input_contents=[b"x" * LIMIT_BYTES])
    plane.body = b""

    assert (await failure(stub.ModelInfer(big)))[0] is Status.RESOURCE_EXHAUSTED
    long_metadata = (("tracestate", "x" * 20_000),)
    status, _ = await failure(stub.ModelInfer(WINE, metadata=long_metadata))
    assert status is Status.RESOURCE_EXHAUSTED
    assert plane.seen == []


@pytest.mark.parametrize("algorithm", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_a_compressed_message_is_inflated_up_to_the_limit(
    plane: Plane, stub: Any, algorithm: grpc.Compression
) -> None:
    plane.body = b""
    fits, bomb = (
        triton.ModelInferRequest(model_name="wine", raw_input_contents=[b"\0" * size])
        for size in (LIMIT_BYTES // 2, 100 * LIMIT_BYTES)
    )

    await stub.ModelInfer(fits, compression=algorithm)
    assert plane.seen[-1][2] == fits.SerializeToString()
    status, _ = await failure(stub.ModelInfer(bomb, compression=algorithm))
    assert status is Status.RESOURCE_EXHAUSTED
    assert len(plane.seen) == 1


async def test_more_bytes_than_the_front_may_hold_are_shed(plane: Plane, stub: Any) -> None:
    plane.delay_s, plane.body = 0.5, b""
    message = triton.ModelInferRequest(model_name="wine", raw_input_contents=[b"x" * 90_000])

    ends = await asyncio.gather(
        *(stub.ModelInfer(message) for _ in range(6)), return_exceptions=True
    )

    refused = [end for end in ends if isinstance(end, grpc.aio.AioRpcError)]
    assert {error.code() for error in refused} == {Status.RESOURCE_EXHAUSTED}
    assert len(ends) - len(refused) == len(plane.seen) == 3
    assert CALLS_MAX > 6


async def test_what_is_not_served_says_so_in_the_error_form(
    plane: Plane, channel: grpc.aio.Channel, stub: Any
) -> None:
    for method in NOT_SERVED:
        status, told = await failure(raw(channel, method)(b""))
        assert (status, told["handrail-code"]) == (Status.UNIMPLEMENTED, "unsupported")
    stream = stub.ModelStreamInfer(iter([WINE]))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stream.read()
    assert error.value.code() is Status.UNIMPLEMENTED
    assert "streaming" in str(error.value.details())


async def test_readiness_is_an_answer_also_when_it_is_no(plane: Plane, stub: Any) -> None:
    assert (await stub.ModelReady(triton.ModelReadyRequest(name="wine", version="1"))).ready
    assert plane.path == "/v2/models/wine/versions/1/ready"
    for plane.status in (404, 503):
        assert not (await stub.ModelReady(triton.ModelReadyRequest(name="wine"))).ready
        assert not (await stub.ServerReady(triton.ServerReadyRequest())).ready


async def test_metadata_statistics_and_index_are_the_rest_endpoints(
    plane: Plane, stub: Any
) -> None:
    plane.body = json.dumps(
        {
            "name": "wine",
            "versions": ["1"],
            "platform": "p",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
            "outputs": [],
            "properties": {"a": "b"},
        }
    ).encode()
    metadata = await stub.ModelMetadata(triton.ModelMetadataRequest(name="wine"))
    assert list(metadata.inputs[0].shape) == [-1, 3]

    plane.body = b'{"model_stats": [{"name": "wine", "version": "1", "inference_count": 3}]}'
    stats = await stub.ModelStatistics(triton.ModelStatisticsRequest())
    assert plane.path == "/v2/models/stats"
    assert stats.model_stats[0].inference_count == 3

    plane.body = b'[{"name": "wine", "version": "1", "state": "READY", "reason": ""}]'
    index = await stub.RepositoryIndex(triton.RepositoryIndexRequest(ready=True))
    assert plane.seen[-1][2] == b'{"ready": true}'
    assert index.models[0].state == "READY"


async def test_the_model_to_load_is_found_in_tritons_field_and_in_kserves(
    plane: Plane, channel: grpc.aio.Channel, stub: Any
) -> None:
    request = triton.RepositoryModelLoadRequest(repository_name="r", model_name="wine")
    request.parameters["config"].string_param = "{}"
    request.parameters["file:1/m"].bytes_param = b"\x00\x01"
    await stub.RepositoryModelLoad(request)
    assert plane.path == "/v2/repository/models/wine/load"
    assert json.loads(plane.seen[-1][2]) == {"parameters": {"config": "{}", "file:1/m": "AAE="}}

    kserves = b"\x0a\x04wine"  # field 1, "wine"
    answer = await raw(channel, "RepositoryModelUnload")(kserves)
    assert plane.path == "/v2/repository/models/wine/unload"
    assert answer == b"\x0a\x04wine\x10\x01"  # the name and isUnloaded, in KServe's numbers


async def test_health_is_what_the_data_plane_says(plane: Plane, channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    serving = health_pb2.HealthCheckResponse
    for service in ("", "inference.GRPCInferenceService"):
        check = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert check.status == serving.SERVING
    plane.status = 503
    assert (await health.Check(health_pb2.HealthCheckRequest())).status == serving.NOT_SERVING
    unknown = health.Check(health_pb2.HealthCheckRequest(service="other"))
    assert (await failure(unknown))[0] is Status.NOT_FOUND
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == serving.NOT_SERVING
    watch.cancel()


async def test_watches_leave_room_for_calls_and_end(
    plane: Plane, channel: grpc.aio.Channel, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.front.health.WATCH_ENDS_S", 0.5)
    monkeypatch.setattr("gateway.front.health.WATCH_S", 0.1)
    health = health_pb2_grpc.HealthStub(channel)
    watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(WATCHES_MAX)]
    for watch in watches:
        await watch.read()

    one_more = health.Watch(health_pb2.HealthCheckRequest())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await one_more.read()
    assert refused.value.code() is Status.RESOURCE_EXHAUSTED
    for watch in watches:
        assert await watch.read() is grpc.aio.EOF
    again = health.Watch(health_pb2.HealthCheckRequest(service="other"))
    assert (await again.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    again.cancel()


async def test_a_second_front_on_the_port_is_refused(plane: Plane, tmp_path: Path) -> None:
    config = load_config(tmp_path, server={"port": plane.port})
    first = Front(config, port=0)
    port = await first.start()
    assert await first.start() == port

    with pytest.raises(OSError, match="is taken"):
        await Front(config, port=port).start()
    await first.stop()


@pytest.mark.parametrize(
    "method",
    [
        "/inference.GRPCInferenceService/ModelInfer",
        "/inference.GRPCInferenceService/ServerLive",
        "/inference.GRPCInferenceService/LogSettings",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
    ],
)
async def test_who_sends_slowly_keeps_nobody_out(
    plane: Plane, channel: grpc.aio.Channel, method: str
) -> None:
    plane.body = b""

    async def never() -> AsyncIterator[bytes]:
        await asyncio.sleep(60)
        yield b""

    slowly = channel.stream_unary(method)
    stuck = [slowly(never()) for _ in range(2 * SEATS_MIN)]
    await asyncio.sleep(2 * AT_ONCE_S)

    assert sum(call.done() for call in stuck) == SEATS_MIN
    assert {await call.code() for call in stuck if call.done()} == {Status.DEADLINE_EXCEEDED}
    await asyncio.wait_for(raw(channel, "ModelInfer")(WINE.SerializeToString()), 5)
    for call in stuck:
        call.cancel()
