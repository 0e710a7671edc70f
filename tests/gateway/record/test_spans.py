"""Records become the spans that an instrumented replica would have drawn."""

from collections.abc import Callable

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from gateway.record.decision import Decision, Exploration, Payload, Stages
from gateway.record.spans import SpanReplay, attributes

MakeDecision = Callable[..., Decision]
Draw = Callable[..., dict[str, ReadableSpan]]
SERVER = "POST /v2/models/{name}/infer"


@pytest.fixture
def draw() -> Draw:
    """Draw one decision; its spans by name."""

    def draw(
        decision: Decision, reason: str = "error", share: float = 0.25
    ) -> dict[str, ReadableSpan]:
        memory = InMemorySpanExporter()
        SpanReplay([SimpleSpanProcessor(memory)], trace_share=share).draw(decision, reason)
        return {span.name: span for span in memory.get_finished_spans()}

    return draw


def test_ids_and_times_are_those_of_the_record(draw: Draw, make_decision: MakeDecision) -> None:
    decision = make_decision()
    server = draw(decision)[SERVER]

    assert f"{server.context.trace_id:032x}" == decision.trace_id
    assert f"{server.context.span_id:016x}" == decision.span_id
    assert server.start_time == decision.arrived_ns
    assert server.end_time == decision.arrived_ns + 1_000_000
    assert server.parent is None
    assert server.kind is SpanKind.SERVER
    assert server.context.trace_flags.sampled


def test_every_stage_that_ran_is_a_child_and_they_follow_each_other(
    draw: Draw, make_decision: MakeDecision
) -> None:
    decision = make_decision()
    spans = draw(decision)
    server = spans.pop(SERVER)
    times = {
        name: (span.start_time - decision.arrived_ns, span.end_time - decision.arrived_ns)
        for name, span in spans.items()
        if span.start_time and span.end_time
    }

    assert times == {
        "queue": (100_000, 300_000),
        "guards": (300_000, 400_000),
        "infer": (400_000, 900_000),
    }
    assert all(span.parent == server.context for span in spans.values())
    assert len({span.context.span_id for span in spans.values()} | {server.context.span_id}) == 4


def test_stages_that_never_ran_leave_no_span(draw: Draw, make_decision: MakeDecision) -> None:
    refused = make_decision(status=400, stages=Stages(finished_ns=50_000))
    unguarded = make_decision(stages=Stages(10, 20, 0, 40, 50, 60))

    assert list(draw(refused)) == [SERVER]
    assert set(draw(unguarded)) == {SERVER, "queue", "infer", "explore"}
    assert draw(unguarded)["infer"].start_time == unguarded.arrived_ns + 20


def test_a_caller_is_the_remote_parent_and_its_tracestate_goes_on(
    draw: Draw, make_decision: MakeDecision
) -> None:
    decision = make_decision(
        parent_id="b7ad6b7169203331", parent_sampled=True, tracestate="vendor=1,ot=th:8"
    )
    server = draw(decision, "parent")[SERVER]

    assert server.parent is not None
    assert f"{server.parent.span_id:016x}" == "b7ad6b7169203331"
    assert server.parent.is_remote
    assert server.context.trace_state.to_header() == "vendor=1,ot=th:8"
    assert f"{server.context.trace_id:032x}" == decision.trace_id


def test_only_an_unbiased_draw_states_its_probability(
    draw: Draw, make_decision: MakeDecision
) -> None:
    assert draw(make_decision(), "share")[SERVER].context.trace_state.to_header() == "ot=th:c"
    assert draw(make_decision(), "error")[SERVER].context.trace_state.to_header() == ""


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (200, "", StatusCode.UNSET),
        (422, "rejected_by_guard", StatusCode.UNSET),
        (504, "deadline_exceeded", StatusCode.ERROR),
    ],
)
def test_only_a_5xx_is_an_error(
    status: int, code: str, expected: StatusCode, draw: Draw, make_decision: MakeDecision
) -> None:
    server = draw(make_decision(status=status, code=code))[SERVER]

    assert server.status.status_code is expected
    assert (server.attributes or {}).get("error.type") == (code if status >= 500 else None)
    assert (server.attributes or {}).get("handrail.code") == (code or None)


def test_the_fullest_record_has_25_attributes_at_most_and_none_is_long(
    draw: Draw, make_decision: MakeDecision
) -> None:
    full = make_decision(
        request_id="r" * 5000,
        status=500,
        code="unanswered",
        served_by="fallback:version",
        fallback_reason="deadline",
        flagged=1,
        rejected=1,
        exploration=Exploration("epsilon", (1,), (2,), (0.1,), ("",)),
        payload=Payload((), ()),
    )
    described = draw(full)[SERVER].attributes or {}

    assert len(described) <= 25
    assert max(len(value) for value in described.values() if isinstance(value, str)) <= 256
    assert all(name.startswith(("handrail.", "http.", "url.", "error.")) for name in described)


def test_the_evidence_is_referred_to_by_day_and_prediction(make_decision: MakeDecision) -> None:
    decision = make_decision(payload=Payload((), ()))
    described = attributes(decision, "share")

    assert described["handrail.evidence.ref"] == f"2026-11-24/{decision.prediction_id}"
    assert described["handrail.shadow.sampled"] is True
    assert described["handrail.keep.reason"] == "share"
    assert described["handrail.budget.used_ratio"] == 0.02
    assert described["handrail.ood.p_value"] == 0.43


def test_a_record_drawn_twice_gives_the_same_spans(draw: Draw, make_decision: MakeDecision) -> None:
    first, second = draw(make_decision()), draw(make_decision())

    assert {n: s.context for n, s in first.items()} == {n: s.context for n, s in second.items()}


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "handrail"),
        ({"OTEL_SERVICE_NAME": "shop"}, "shop"),
        (
            {"OTEL_RESOURCE_ATTRIBUTES": "service.name=shop,deployment.environment.name=test"},
            "shop",
        ),
    ],
)
def test_the_service_is_named_handrail_unless_the_operator_names_it(
    variables: dict[str, str],
    name: str,
    draw: Draw,
    make_decision: MakeDecision,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)

    assert draw(make_decision())[SERVER].resource.attributes["service.name"] == name
