"""Spans reach real OTLP backends on both transports; a dead one costs bounded memory only."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from gateway.record import exporters
from gateway.record.decision import Decision
from gateway.record.exporters import Outlet, evaluator_exporter, open_outlets, operator_exporter
from gateway.record.spans import SpanReplay

MakeDecision = Callable[..., Decision]
SPANS = 4  # of an ordinary decision


class Fates:
    """Counts what became of spans."""

    def __init__(self) -> None:
        self.spans: Counter[str] = Counter()
        self._lock = threading.Lock()

    def settle(self, name: str, fate: str, spans: int) -> None:
        with self._lock:
            self.spans[fate] += spans


@pytest.fixture(autouse=True)
def _no_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENDPOINT", "TRACES_ENDPOINT", "PROTOCOL", "TRACES_PROTOCOL", "HEADERS"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)


def draw(outlets: Sequence[Outlet], decisions: Sequence[Decision]) -> None:
    replay = SpanReplay(outlets, trace_share=1.0)
    for decision in decisions:
        replay.draw(decision, "share")


def test_spans_reach_the_evaluator_with_the_ids_of_the_record(
    grpc_backend: tuple[str, Any], make_decision: MakeDecision
) -> None:
    endpoint, backend = grpc_backend
    fates = Fates()
    outlets = open_outlets(endpoint, fates.settle)
    draw(outlets, [make_decision()])

    assert all(outlet.force_flush() for outlet in outlets)

    server = next(span for span in backend.spans if span.name.startswith("POST"))
    assert server.trace_id.hex() == make_decision().trace_id
    assert server.span_id.hex() == make_decision().span_id
    assert server.start_time_unix_nano == make_decision().arrived_ns
    assert fates.spans == {"exported": SPANS}
    assert backend.resources[0]["service.name"] == "handrail"
    for outlet in outlets:
        outlet.shutdown()


def test_the_operators_http_backend_gets_the_same_spans_and_its_headers(
    grpc_backend: tuple[str, Any],
    http_backend: tuple[str, Any],
    make_decision: MakeDecision,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluator_endpoint, evaluator = grpc_backend
    endpoint, operator = http_backend
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret")
    outlets = open_outlets(evaluator_endpoint, Fates().settle)
    draw(outlets, [make_decision(n) for n in range(5)])

    assert all(outlet.force_flush() for outlet in outlets)

    assert len(operator.spans) == len(evaluator.spans) == 5 * SPANS
    assert {span.span_id for span in operator.spans} == {span.span_id for span in evaluator.spans}
    assert operator.headers[0]["path"] == "/v1/traces"
    assert operator.headers[0]["authorization"] == "secret"
    assert "authorization" not in evaluator.headers[0]
    for outlet in outlets:
        outlet.shutdown()


def test_the_operators_grpc_backend_is_found_by_the_standard_variables(
    grpc_backend: tuple[str, Any], make_decision: MakeDecision, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, backend = grpc_backend
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    (outlet,) = open_outlets(None, Fates().settle)
    draw([outlet], [make_decision()])

    assert outlet.force_flush()
    assert len(backend.spans) == SPANS
    outlet.shutdown()


@pytest.mark.parametrize(
    ("variables", "transport"),
    [
        ({}, None),
        ({"ENDPOINT": "http://host:4318"}, "http"),
        ({"ENDPOINT": "http://host"}, "http"),
        ({"ENDPOINT": "http://host:4317"}, "grpc"),
        ({"ENDPOINT": "http://host:4317", "PROTOCOL": "http/protobuf"}, "http"),
        ({"ENDPOINT": "http://host:4318", "PROTOCOL": "grpc"}, "grpc"),
        (
            {"ENDPOINT": "http://h:1", "PROTOCOL": "grpc", "TRACES_PROTOCOL": "http/protobuf"},
            "http",
        ),
        ({"ENDPOINT": "http://h:1", "PROTOCOL": "http/json"}, None),
    ],
)
def test_the_transport_follows_the_protocol_and_else_the_port(
    variables: dict[str, str], transport: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    exporter = operator_exporter({f"OTEL_EXPORTER_OTLP_{n}": v for n, v in variables.items()})

    assert (exporter is None) == (transport is None)
    if exporter is not None:
        assert f".proto.{transport}." in type(exporter).__module__
        exporter.shutdown()


class Stuck(SpanExporter):
    """A backend that takes a batch and does not answer until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.let_go.wait()
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self.let_go.set()


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    stuck = Stuck()
    yield stuck
    stuck.let_go.set()


def test_a_stuck_backend_fills_its_queue_and_the_rest_is_refused_counted_and_quick(
    stuck: Stuck, make_decision: MakeDecision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporters, "QUEUE_MAX", 40)
    monkeypatch.setattr(exporters, "_BATCH_MAX", 10)
    fates = Fates()
    outlet = Outlet("stuck", stuck, delay_ms=1, settled=fates.settle)
    began_s = time.monotonic()
    draw([outlet], [make_decision(n) for n in range(50)])

    assert time.monotonic() - began_s < 1
    assert outlet.waiting == 40
    assert fates.spans == {"queue_full": 50 * SPANS - 40}
    assert not outlet.force_flush(50)

    outlet.shutdown()

    assert outlet.waiting == 0
    assert fates.spans == {"queue_full": 50 * SPANS - 40, "export_failed": 40}


def test_a_backend_that_is_gone_costs_its_spans_and_a_quick_shutdown(
    make_decision: MakeDecision,
) -> None:
    fates = Fates()
    outlet = Outlet(
        "gone", evaluator_exporter("http://127.0.0.1:9"), delay_ms=1, settled=fates.settle
    )
    draw([outlet], [make_decision()])
    time.sleep(0.1)  # it is retrying now
    began_s = time.monotonic()

    outlet.shutdown()

    assert time.monotonic() - began_s < 2
    assert fates.spans == {"export_failed": SPANS}
