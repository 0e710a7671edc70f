"""Order, repetition and restarts never change the report."""

from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete

from gateway.evaluate import tables
from gateway.evaluate.feedback import Feedback
from gateway.evaluate.feedback_store import FeedbackStore
from gateway.evaluate.judgements import Judgements
from gateway.evaluate.report import Report, report
from gateway.record.decision import Decision, Stages
from gateway.registry.registry import Registry
from tests.gateway.evaluate.decisions import decide


def _report(engine: Engine, registry: Registry) -> Report:
    """All of it but the count of repetitions."""
    found = report(engine, registry, "mlp", alpha=0.05)
    assert found.feedback is not None
    return found.model_copy(
        update={"feedback": found.feedback.model_copy(update={"duplicates": 0})}
    )


def _clear(engine: Engine) -> None:
    with engine.begin() as connection:
        for table in (
            tables.labels,
            tables.requests,
            tables.predictions,
            tables.counts,
            tables.shadow_runs,
            tables.shadow_predictions,
            tables.positions,
        ):
            connection.execute(delete(table))


@st.composite
def _histories(draw: st.DrawFn) -> list[Any]:
    """Events as they might reach the evaluator: decisions, some of them twice tried, and labels."""
    events: list[Any] = []
    for n in range(draw(st.integers(0, 6))):
        rows = draw(st.integers(1, 3))
        for attempt in range(draw(st.integers(1, 2))):
            served_by = draw(st.sampled_from(["model", "canary", "fallback:version", ""]))
            events.append(
                decide(
                    n,
                    arrived_ns=decide(n).arrived_ns + attempt,
                    rows=rows,
                    served_by=served_by,
                    status=200 if served_by else 503,
                    version=draw(st.sampled_from(["1", "2"])),
                    predicted=tuple(draw(st.sampled_from([0.0, 1.0])) for _ in range(rows)),
                    flagged=draw(st.integers(0, rows)),
                    stages=Stages(finished_ns=draw(st.integers(10**5, 10**8))),
                )
            )
        for observed_ns in range(draw(st.integers(0, 3))):
            events.append(
                Feedback(
                    decide(n).prediction_id,
                    row=draw(st.integers(0, 3)),
                    label=draw(st.sampled_from([0, 1])),
                    observed_ns=10 * n + observed_ns,
                    idempotency_key=f"{n}/{observed_ns}",
                )
            )
    return events


def _play(engine: Engine, store: FeedbackStore, batches: Sequence[Sequence[Any]]) -> None:
    for batch in batches:
        # A new object every time: nothing may be remembered outside the database.
        Judgements(engine).record(event for event in batch if isinstance(event, Decision))
        store.add("mlp", [event for event in batch if isinstance(event, Feedback)])


@given(data=st.data(), history=_histories())
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # cleared between examples
)
def test_order_repetition_and_restarts_never_change_the_report(
    engine: Engine, registry: Registry, database_url: str, data: st.DataObject, history: list[Any]
) -> None:
    store = FeedbackStore(database_url)
    _clear(engine)
    _play(engine, store, [history])
    once = _report(engine, registry)

    _clear(engine)
    repeated = history + data.draw(st.lists(st.sampled_from(history)) if history else st.just([]))
    shuffled = data.draw(st.permutations(repeated))
    size = data.draw(st.integers(1, 5))
    _play(engine, store, [shuffled[i : i + size] for i in range(0, len(shuffled), size)])

    assert _report(engine, registry) == once
