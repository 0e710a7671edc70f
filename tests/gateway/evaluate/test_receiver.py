"""The receiver is what a stock exporter or Collector expects of an OTLP endpoint."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GrpcExporter,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
    OTLPSpanExporter as HttpExporter,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind

from gateway.evaluate.notification import Inbox, Notification, OverloadedError
from gateway.evaluate.receiver import MAX_BYTES, Receiver

PREDICTION = "0123456789abcdef0123456789abcdef"
REFERENCE = f"2026-11-24/{PREDICTION}"
ATTRIBUTES: dict[str, str | int] = {
    "handrail.evidence.ref": REFERENCE,
    "handrail.model.name": "digits",
    "handrail.rows": 3,
}
PROTOBUF = {"content-type": "application/x-protobuf"}


@asynccontextmanager
async def listening(
    take: Callable[[Sequence[Notification]], bool],
) -> AsyncIterator[Receiver]:
    receiver = Receiver(take, grpc_port=0, http_port=0)
    await receiver.start()
    try:
        yield receiver
    finally:
        await receiver.stop()


class Taken(list[Notification]):
    def __call__(self, notifications: Sequence[Notification]) -> bool:
        self.extend(notifications)
        return True


def spans(count: int) -> list[ReadableSpan]:
    """Real SDK spans: a SERVER span with a child, ``count`` times."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    made = []
    for _ in range(count):
        with tracer.start_as_current_span(
            "POST", kind=SpanKind.SERVER, attributes=ATTRIBUTES
        ) as server:
            child = tracer.start_span("infer")
            child.end()
        made += [child, server]
    return made  # type: ignore[return-value]  # the SDK's spans are readable


def message(
    kind: Any = Span.SPAN_KIND_SERVER,
    *,
    trace_id: bytes = b"t" * 16,
    reference: str = REFERENCE,
    model: str = "digits",
) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.kind, span.trace_id, span.span_id, span.start_time_unix_nano = kind, trace_id, b"s" * 8, 77
    span.attributes.add(key="handrail.evidence.ref").value.string_value = reference
    span.attributes.add(key="handrail.model.name").value.string_value = model
    return request


@pytest.mark.parametrize("transport", ["grpc", "grpc+gzip", "http", "http+gzip"])
async def test_stock_exporters_deliver(transport: str) -> None:
    taken = Taken()
    async with listening(taken) as receiver:
        exporter = _exporter(transport, receiver)
        result = await asyncio.to_thread(exporter.export, spans(3))
        exporter.shutdown()

    assert result is SpanExportResult.SUCCESS
    assert [(n.prediction_id, n.model) for n in taken] == [(PREDICTION, "digits")] * 3
    assert receiver.spans_received == 6


def _exporter(transport: str, receiver: Receiver) -> SpanExporter:
    zipped = transport.endswith("+gzip")
    if transport.startswith("grpc"):
        return GrpcExporter(
            endpoint=f"http://127.0.0.1:{receiver.grpc_port}",
            insecure=True,
            compression=grpc.Compression.Gzip if zipped else None,
        )
    from opentelemetry.exporter.otlp.proto.http import Compression

    return HttpExporter(
        endpoint=f"http://127.0.0.1:{receiver.http_port}/v1/traces",
        compression=Compression.Gzip if zipped else Compression.NoCompression,
    )


async def test_a_notification_says_when_the_request_arrived() -> None:
    taken = Taken()
    Inbox(taken).deliver(message())

    wanted = Notification((b"t" * 16).hex(), (b"s" * 8).hex(), PREDICTION, "digits", 77)
    assert taken == [wanted]


def test_the_same_span_is_taken_once_on_any_transport() -> None:
    taken = Taken()
    inbox = Inbox(taken)

    assert [inbox.deliver(message()).notifications for _ in range(3)] == [1, 0, 0]
    assert inbox.spans_received == 3
    assert len(taken) == 1


def test_the_memory_of_spans_is_bounded() -> None:
    taken = Taken()
    inbox = Inbox(taken, remembered=2)
    for trace in (b"a", b"b", b"c", b"c", b"a"):
        inbox.deliver(message(trace_id=trace * 16))

    assert [n.trace_id[:2] for n in taken] == ["61", "62", "63", "61"]


@pytest.mark.parametrize("kind", [Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_INTERNAL])
def test_spans_of_other_kinds_are_counted_and_left_alone(kind: Any) -> None:
    taken = Taken()

    assert Inbox(taken).deliver(message(kind)).malformed == 0
    assert not taken


@pytest.mark.parametrize(
    "request_",
    [
        message(reference="nonsense"),
        message(reference=REFERENCE + "x"),
        message(model=""),
        message(trace_id=b"short"),
    ],
)
def test_a_reference_without_sense_is_a_partial_success(request_: Any) -> None:
    taken = Taken()

    assert Inbox(taken).deliver(request_).malformed == 1
    assert not taken


def test_a_span_that_was_refused_for_overload_is_taken_when_it_comes_again() -> None:
    taken = Taken()
    room = [False, True]
    inbox = Inbox(lambda notifications: taken(notifications) if room.pop(0) else False)

    with pytest.raises(OverloadedError):
        inbox.deliver(message())
    inbox.deliver(message())
    assert len(taken) == 1


async def test_overload_on_grpc_says_when_to_come_again() -> None:
    async with (
        listening(lambda notifications: False) as receiver,
        grpc.aio.insecure_channel(f"127.0.0.1:{receiver.grpc_port}") as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await TraceServiceStub(channel).Export(message())  # type: ignore[no-untyped-call]

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    details = dict(refused.value.trailing_metadata())["grpc-status-details-bin"]
    retry = RetryInfo()
    assert Status.FromString(details).details[0].Unpack(retry)
    assert retry.retry_delay.seconds == 1


async def test_overload_on_http_says_when_to_come_again() -> None:
    answer = await _post(message().SerializeToString(), take=lambda notifications: False)

    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"


async def _post(
    body: bytes,
    headers: dict[str, str] = PROTOBUF,
    *,
    path: str = "/v1/traces",
    method: str = "POST",
    take: Callable[[Sequence[Notification]], bool] | None = None,
) -> httpx.Response:
    async with listening(take or Taken()) as receiver, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{receiver.http_port}{path}"
        return await client.request(method, url, content=body, headers=headers)


async def test_an_http_answer_is_protobuf_and_tells_what_was_rejected() -> None:
    body = message(reference="nonsense").SerializeToString()
    answer = await _post(body)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-protobuf"
    response = ExportTraceServiceResponse.FromString(answer.content)
    assert response.partial_success.rejected_spans == 1


GZIP = PROTOBUF | {"content-encoding": "gzip"}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{}", {"content-type": "application/json"}, 415),
        (b"", {}, 415),
        (b"", PROTOBUF | {"content-encoding": "br"}, 415),
        (b"\xff\xff", PROTOBUF, 400),
        (b"not gzip", GZIP, 400),
        (gzip.compress(b"")[:-4], GZIP, 400),
        (gzip.compress(b"") + b"more", GZIP, 400),
        (gzip.compress(bytes(MAX_BYTES + 1)), GZIP, 413),
        (bytes(MAX_BYTES + 1), PROTOBUF, 413),
        (b"", PROTOBUF, 200),
    ],
)
async def test_bad_bodies_are_refused_with_a_status_of_the_protocol(
    body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await _post(body, headers)

    assert answer.status_code == status
    if status != 200:
        assert Status.FromString(answer.content).message


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/v1/logs", "POST", 404), ("/v1/traces", "GET", 405)]
)
async def test_nothing_else_is_answered(path: str, method: str, status: int) -> None:
    assert (await _post(b"", path=path, method=method)).status_code == status


async def test_a_taken_port_is_an_error() -> None:
    async with listening(Taken()) as first:
        for ports in ((first.grpc_port, 0), (0, first.http_port)):
            second = Receiver(Taken(), grpc_port=ports[0], http_port=ports[1])
            with pytest.raises(OSError, match=r"taken|in use"):
                await second.start()
