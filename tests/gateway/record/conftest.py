"""A plain decision to vary, settings that hurry, and a real OTLP backend."""

import gzip
from collections.abc import Callable, Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

import grpc
import msgspec
import pytest
from opentelemetry.proto.collector.trace.v1 import (
    trace_service_pb2 as messages,
)
from opentelemetry.proto.collector.trace.v1 import (
    trace_service_pb2_grpc as services,
)

from gateway.config import RecordSettings
from gateway.record.decision import SCHEMA, Decision, Stages
from gateway.record.ids import new_trace, prediction_id

MakeDecision = Callable[..., Decision]


@pytest.fixture
def settings() -> RecordSettings:
    return RecordSettings(poll_ms=20)


@pytest.fixture
def make_decision() -> MakeDecision:
    """Build the ``n``-th ordinary decision, with any of its fields changed."""

    def make(n: int = 0, **changes: Any) -> Decision:
        prediction = prediction_id("digits", f"request-{n}", b"body")
        trace = new_trace(prediction)
        plain = Decision(
            schema=SCHEMA,
            prediction_id=prediction,
            request_id=f"request-{n}",
            trace_id=trace.trace_id,
            span_id=trace.span_id,
            parent_id="",
            parent_sampled=False,
            tracestate="",
            model="digits",
            version="3",
            digest="sha256:abc",
            revision=7,
            arrived_ns=1_795_478_400_000_000_000 + n * 1_000_000,  # 2026-11-24 00:00:00 UTC
            stages=Stages(
                decoded_ns=100_000,
                dequeued_ns=300_000,
                guarded_ns=400_000,
                inferred_ns=900_000,
                finished_ns=1_000_000,
            ),
            budget_ns=50_000_000,
            rows=1,
            batch_rows=4,
            status=200,
            code="",
            served_by="model",
            fallback_reason="",
            flagged=0,
            rejected=0,
            p_values=(0.43,),
            reasons="",
            predicted=(3.0,),
            exploration=None,
            capture_share=0.1,
            payload=None,
        )
        return msgspec.structs.replace(plain, **changes)

    return make


class Backend(services.TraceServiceServicer):
    """An OTLP receiver on both transports; it remembers spans, headers and resources."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self._lock = Lock()

    def Export(self, request: Any, context: Any) -> Any:
        self.take(request, dict(context.invocation_metadata()))
        return messages.ExportTraceServiceResponse()

    def take(self, request: Any, headers: dict[str, str]) -> None:
        with self._lock:
            self.headers.append(headers)
            for resource_spans in request.resource_spans:
                named = resource_spans.resource.attributes
                self.resources.append({kv.key: kv.value.string_value for kv in named})
                for scope_spans in resource_spans.scope_spans:
                    self.spans.extend(scope_spans.spans)


@pytest.fixture
def grpc_backend() -> Iterator[tuple[str, Backend]]:
    backend = Backend()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    services.add_TraceServiceServicer_to_server(backend, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}", backend
    server.stop(None).wait()


@pytest.fixture
def http_backend() -> Iterator[tuple[str, Backend]]:
    backend = Backend()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            request = messages.ExportTraceServiceRequest.FromString(body)
            backend.take(
                request, {**{k.lower(): v for k, v in self.headers.items()}, "path": self.path}
            )
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", backend
    server.shutdown()
    server.server_close()
    thread.join()
