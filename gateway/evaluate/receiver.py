"""An OTLP receiver on loopback: gRPC, and HTTP with protobuf bodies.

Any stock exporter or Collector may send here.  OTLP/JSON is answered with 415: its ids are
hexadecimal where protobuf's own JSON has base64, and nobody has asked for it yet.

Source: OpenTelemetry protocol specification 1.9, sections "OTLP/gRPC" and "OTLP/HTTP".
"""

import asyncio
import contextlib
import socket
import zlib
from collections.abc import Generator
from typing import Any

import grpc
import uvicorn
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from starlette.types import Receive, Scope, Send

from gateway.config import MIB
from gateway.evaluate.notification import Delivery, Inbox, OverloadedError, Take

HOST = "127.0.0.1"
MAX_BYTES = 16 * MIB  # of one request once decompressed: 512 spans take 0.4 MiB
RETRY_AFTER_S = 1
STOP_S = 1.0
PROTOBUF = "application/x-protobuf"
PATH = "/v1/traces"
INVALID_ARGUMENT, RESOURCE_EXHAUSTED = 3, 8  # google.rpc.Code
GZIP = 31  # zlib's window bits for "gzip, and nothing else"


class Receiver:
    """Listens on both ports and hands notifications to ``take``; False from it is overload."""

    def __init__(self, take: Take, *, grpc_port: int, http_port: int) -> None:
        self._inbox = Inbox(take)
        self._asked = (grpc_port, http_port)
        self._grpc: Any = None
        self._http: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self.grpc_port = 0  # what is bound; differs from what was asked for only if that was 0
        self.http_port = 0

    @property
    def spans_received(self) -> int:
        """Spans of any kind in the requests that were taken."""
        return self._inbox.spans_received

    async def start(self) -> None:
        """Bind both ports; return once both answer.

        Raises:
            OSError: a port is taken.
        """
        grpc_port, http_port = self._asked
        listening = _listen(http_port)
        self._grpc = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MAX_BYTES),  # after decompression, too
                ("grpc.so_reuseport", 0),  # two evaluators on one port would share the spans
            ]
        )
        add_TraceServiceServicer_to_server(  # type: ignore[no-untyped-call]  # generated
            _GrpcTraces(self._inbox), self._grpc
        )
        try:
            self.grpc_port = self._grpc.add_insecure_port(f"{HOST}:{grpc_port}")
        except RuntimeError as error:  # what grpc makes of EADDRINUSE
            listening.close()
            raise OSError(f"port {grpc_port} is taken") from error
        await self._grpc.start()
        self.http_port = listening.getsockname()[1]
        config = uvicorn.Config(
            HttpTraces(self._inbox), lifespan="off", log_level="warning", access_log=False
        )
        self._http = _Server(config)
        self._serving = asyncio.create_task(self._http.serve(sockets=[listening]))
        while not self._http.started:
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Close both ports; requests under way are finished first."""
        if self._http is not None and self._serving is not None:
            self._http.should_exit = True
            await self._serving
        if self._grpc is not None:
            await self._grpc.stop(STOP_S)


class _GrpcTraces(TraceServiceServicer):
    """``TraceService/Export``."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def Export(self, request: Any, context: Any) -> ExportTraceServiceResponse:  # noqa: N802
        """Take one request; the name is the protocol's."""
        try:
            return _response(self._inbox.deliver(request))
        except OverloadedError:
            status = _overloaded()
            return await context.abort(  # type: ignore[no-any-return]  # it always raises
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                status.message,
                (("grpc-status-details-bin", status.SerializeToString()),),
            )


class HttpTraces:
    """``POST /v1/traces`` as an ASGI application."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every body that goes out is protobuf, as the protocol asks."""
        if scope["type"] != "http":
            return
        retry: list[tuple[bytes, bytes]] = []
        try:
            body = await _read(scope, receive)
            request = ExportTraceServiceRequest.FromString(body)
            status, answer = 200, _response(self._inbox.deliver(request))
        except _Refusal as refusal:
            status, answer = refusal.status, _problem(refusal.problem)
        except DecodeError:
            status, answer = 400, _problem("the body is not an ExportTraceServiceRequest")
        except OverloadedError:
            status, answer = 429, _overloaded()
            retry = [(b"retry-after", b"%d" % RETRY_AFTER_S)]
        content = answer.SerializeToString()
        headers = [
            (b"content-type", PROTOBUF.encode()),
            (b"content-length", b"%d" % len(content)),
            *retry,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


class _Refusal(Exception):  # noqa: N818  # a refusal of the sender's, not an error of ours
    def __init__(self, status: int, problem: str) -> None:
        super().__init__(status, problem)
        self.status = status
        self.problem = problem


async def _read(scope: Scope, receive: Receive) -> bytes:
    """Check the head, then read and decompress the body, never more than `MAX_BYTES` of either."""
    headers = dict(scope["headers"])
    if scope["path"] != PATH:
        raise _Refusal(404, f"spans are taken at {PATH}")
    if scope["method"] != "POST":
        raise _Refusal(405, "spans are sent with POST")
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != PROTOBUF.encode():
        raise _Refusal(415, f"the body must be {PROTOBUF}")
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in (b"identity", b"gzip"):
        raise _Refusal(415, "the content encoding must be gzip or identity")
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Refusal(400, "the body is not complete")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BYTES:
            raise _too_large()
    return _unzip(bytes(body)) if encoding == b"gzip" else bytes(body)


def _unzip(body: bytes) -> bytes:
    stream = zlib.decompressobj(GZIP)
    try:
        content = stream.decompress(body, MAX_BYTES + 1)
    except zlib.error as error:
        raise _Refusal(400, "the body is not gzip") from error
    if len(content) > MAX_BYTES:
        raise _too_large()
    if not stream.eof or stream.unused_data:
        raise _Refusal(400, "the body is not one whole gzip stream")
    return content


def _too_large() -> _Refusal:
    return _Refusal(413, f"a request holds {MAX_BYTES} bytes at most, decompressed")


def _response(delivery: Delivery) -> ExportTraceServiceResponse:
    response = ExportTraceServiceResponse()
    if delivery.malformed:
        response.partial_success.rejected_spans = delivery.malformed
        response.partial_success.error_message = "spans whose evidence reference has no sense"
    return response


def _problem(sentence: str) -> Status:
    return Status(code=INVALID_ARGUMENT, message=sentence)


def _overloaded() -> Status:
    """Ask to be called again: without RetryInfo senders must take it as final."""
    status = Status(code=RESOURCE_EXHAUSTED, message="too many notifications are waiting")
    status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=RETRY_AFTER_S)))
    return status


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process belongs to somebody else."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield


def _listen(port: int) -> socket.socket:
    """Bind the HTTP port here, so that a taken one is an error and not an exit of uvicorn."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # through TIME_WAIT
    try:
        listening.bind((HOST, port))
    except OSError:
        listening.close()
        raise
    return listening
