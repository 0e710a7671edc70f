"""Where spans go: OTLP exporters behind a queue that is bounded and counts what it drops."""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from grpc import Compression
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

QUEUE_MAX = 4096  # spans waiting for one backend, about 12 MB
_BATCH_MAX = 512
_EVALUATOR_DELAY_MS = 200  # the evaluator is notified by spans; an operator's backend can wait
_OPERATOR_DELAY_MS = 1000
_EVALUATOR_TIMEOUT_S = 5.0
_GRPC_PORT = 4317  # registered for OTLP over gRPC, as 4318 is over HTTP
_log = logging.getLogger(__name__)


class Outlet(SpanProcessor):
    """One backend's batch processor, in front of it a door that closes when it is full.

    The SDK's own queue drops its oldest spans unseen; here the newest are refused, and
    counted, and the queue never fills.
    """

    def __init__(
        self,
        name: str,
        exporter: SpanExporter,
        *,
        delay_ms: float,
        settled: Callable[[str, str, int], None] = lambda name, fate, spans: None,
    ) -> None:
        """Start the batch processor's thread.

        Args:
            name: Of the backend, in metrics.
            delay_ms: How long a span waits for others at most.
            settled: Told ``(name, "exported" | "queue_full" | "export_failed", spans)``,
                from the exporting thread as well.
        """
        self.name = name
        self._exporter = exporter
        self._settled = settled
        self._accepted = 0  # written by the caller's thread only
        self._finished = 0  # written by the exporting thread only
        self._batches = BatchSpanProcessor(
            _Counted(exporter, self._finish),
            max_queue_size=QUEUE_MAX,
            max_export_batch_size=_BATCH_MAX,
            schedule_delay_millis=delay_ms,
        )

    @property
    def waiting(self) -> int:
        """Spans accepted and neither exported nor given up."""
        return self._accepted - self._finished

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing to do: spans are complete when they are built."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span, or refuse it."""
        if self.waiting >= QUEUE_MAX:
            self._settled(self.name, "queue_full", 1)
            return
        self._accepted += 1
        self._batches.on_end(span)

    def force_flush(self, timeout_millis: int = 5000) -> bool:
        """Export what waits; give up waiting for the backend after the timeout."""
        deadline_s = time.monotonic() + timeout_millis / 1000
        flush = threading.Thread(target=self._batches.force_flush, name="span-flush", daemon=True)
        flush.start()
        flush.join(timeout_millis / 1000)
        while self.waiting and time.monotonic() < deadline_s:
            time.sleep(0.005)  # a batch that the worker had already taken
        return self.waiting == 0

    def shutdown(self) -> None:
        """Stop; what still waits is given up and counted."""
        self._exporter.shutdown()  # first: it ends the retries that the worker may be in
        self._batches.shutdown()  # type: ignore[no-untyped-call]  # the SDK left it untyped

    def _finish(self, spans: int, exported: bool) -> None:
        self._finished += spans
        self._settled(self.name, "exported" if exported else "export_failed", spans)


class _Counted(SpanExporter):
    """Reports each batch's fate."""

    def __init__(self, exporter: SpanExporter, finish: Callable[[int, bool], None]) -> None:
        self._exporter = exporter
        self._finish = finish

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._finish(len(spans), result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        """Done by the outlet, before the queue is stopped."""


def open_outlets(
    evaluator_endpoint: str | None, settled: Callable[[str, str, int], None]
) -> tuple[Outlet, ...]:
    """Open the evaluator's outlet, and the operator's if the environment names a backend."""
    outlets = []
    if evaluator_endpoint is not None:
        exporter = evaluator_exporter(evaluator_endpoint)
        outlets.append(Outlet("evaluator", exporter, delay_ms=_EVALUATOR_DELAY_MS, settled=settled))
    if (operator := operator_exporter(os.environ)) is not None:
        outlets.append(Outlet("operator", operator, delay_ms=_OPERATOR_DELAY_MS, settled=settled))
    return tuple(outlets)


def evaluator_exporter(endpoint: str) -> SpanExporter:
    """Build the exporter to our own evaluator, which the operator's OTEL settings do not reach."""
    return GrpcExporter(
        endpoint=endpoint,
        insecure=urlsplit(endpoint).scheme != "https",
        # Any header: without one the exporter would send the operator's credentials.
        headers=(("handrail-outlet", "evaluator"),),
        timeout=_EVALUATOR_TIMEOUT_S,
        compression=Compression.NoCompression,
    )


def operator_exporter(environ: "os._Environ[str] | dict[str, str]") -> SpanExporter | None:
    """Build the exporter that the standard ``OTEL_EXPORTER_OTLP_*`` variables describe.

    None without an endpoint.  Without a protocol, port 4317 means gRPC, anything else the
    specification's default, HTTP.
    """
    prefix = "OTEL_EXPORTER_OTLP_"
    endpoint = environ.get(f"{prefix}TRACES_ENDPOINT") or environ.get(f"{prefix}ENDPOINT")
    if not endpoint:
        return None
    protocol = environ.get(f"{prefix}TRACES_PROTOCOL") or environ.get(f"{prefix}PROTOCOL")
    if not protocol:
        protocol = "grpc" if urlsplit(endpoint).port == _GRPC_PORT else "http/protobuf"
    if protocol not in ("grpc", "http/protobuf"):
        _log.error(
            "OTLP protocol %r is unknown (grpc, http/protobuf): no traces exported", protocol
        )
        return None
    return GrpcExporter() if protocol == "grpc" else HttpExporter()
