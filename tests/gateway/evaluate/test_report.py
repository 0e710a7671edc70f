"""The report says what happened, and depends on nothing but what happened."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from gateway.errors import UnknownModelError
from gateway.evaluate.feedback import Feedback
from gateway.evaluate.feedback_store import FeedbackStore
from gateway.evaluate.judged import bin_start_ns, duration_bin
from gateway.evaluate.judgements import Judgements
from gateway.evaluate.report import Report, VersionReport, report
from gateway.record.decision import Exploration, Payload, Stages
from gateway.registry.registry import Registry
from guards.quality.expectation import State
from tests.gateway.evaluate.decisions import decide

CAPTURED = Payload((), ())


def _report(engine: Engine, registry: Registry) -> Report:
    return report(engine, registry, "mlp", alpha=0.05)


def _version(engine: Engine, registry: Registry, version: str = "1") -> VersionReport:
    return next(v for v in _report(engine, registry).versions if v.version == version)


def _state(found: Report, name: str) -> tuple[State, str]:
    expectation = next(e for e in found.expectations if e.name == name)
    return expectation.state, expectation.reason


def test_with_nothing_at_all_every_expectation_is_unknown(
    engine: Engine, registry: Registry
) -> None:
    found = _report(engine, registry)

    assert {e.state for e in found.expectations} == {State.UNKNOWN}
    assert found.requests == 0
    assert found.shadow is not None
    assert found.shadow.agreement.estimate is None


def test_a_model_that_nobody_registered_has_no_report(engine: Engine, registry: Registry) -> None:
    with pytest.raises(UnknownModelError):
        report(engine, registry, "unheard-of", alpha=0.05)


def test_predictions_without_labels_leave_accuracy_unknown_and_say_how_many(
    engine: Engine, registry: Registry
) -> None:
    Judgements(engine).record(decide(n, rows=2, predicted=(1.0, 0.0)) for n in range(602))

    state, reason = _state(_report(engine, registry), "accuracy")
    assert (state, reason) == (State.UNKNOWN, "no labels yet: 0 of 1,204")


def test_accuracy_counts_rows_that_the_version_answered_itself(
    engine: Engine, registry: Registry, database_url: str
) -> None:
    own = [decide(n, rows=2, predicted=(1.0, 0.0)) for n in range(3)]
    fallback = decide(3, served_by="fallback:constant", fallback_reason="deadline")
    Judgements(engine).record([*own, fallback])
    FeedbackStore(database_url).add(
        "mlp",
        [
            Feedback(own[0].prediction_id, label=[1, 0]),
            Feedback(own[1].prediction_id, row=1, label=1),
            Feedback(fallback.prediction_id, label=1),
            Feedback("0" * 32, label=1),
        ],
    )

    accuracy = _version(engine, registry).accuracy
    assert (accuracy.hits, accuracy.n, accuracy.estimate) == (2, 3, 2 / 3)
    assert accuracy.low < 2 / 3 < accuracy.high
    assert _report(engine, registry).unmatched_labels == 1


def test_the_label_observed_last_counts_whatever_came_last(
    engine: Engine, registry: Registry, database_url: str
) -> None:
    decision = decide()
    Judgements(engine).record([decision])
    store = FeedbackStore(database_url)
    store.add("mlp", [Feedback(decision.prediction_id, label=1, observed_ns=2)])
    store.add("mlp", [Feedback(decision.prediction_id, label=0, observed_ns=1)])
    store.add("mlp", [Feedback(decision.prediction_id, reward=5.0)])

    assert _version(engine, registry).accuracy.hits == 1


def test_who_answered_and_why_is_told(engine: Engine, registry: Registry) -> None:
    fell = {"served_by": "fallback:constant", "fallback_reason": "deadline"}
    drawn = Exploration("epsilon_greedy", (1,), (0,), (0.05,), ("",))
    Judgements(engine).record(
        [
            decide(0, flagged=1),
            decide(1, exploration=drawn),
            decide(2, **fell),
            decide(3, served_by="", status=422, code="rejected", rejected=1, predicted=()),
        ]
    )

    version = _version(engine, registry)
    assert (version.requests, version.answered) == (4, 3)
    assert version.served_by == {"fallback:constant": 1, "model": 2}
    assert version.fallback_reasons == {"deadline": 1 / 3}
    assert version.flagged_share == version.rejected_share == version.explored_share == 0.25


def test_a_request_without_a_version_is_counted_for_the_model_only(
    engine: Engine, registry: Registry
) -> None:
    Judgements(engine).record([decide(0, version="", served_by="", status=404)])

    found = _report(engine, registry)
    assert found.requests == 1
    assert [v.requests for v in found.versions] == [0, 0]


@given(st.integers(0, 10**13))
def test_a_duration_lies_in_its_bin(duration_ns: int) -> None:
    number = duration_bin(duration_ns)

    clipped = max(duration_ns, 1000)
    assert bin_start_ns(number) * (1 - 1e-9) <= clipped <= bin_start_ns(number + 1) * (1 + 1e-9)


def test_quantiles_are_right_to_one_percent(engine: Engine, registry: Registry) -> None:
    durations = [1_000_000 * (n + 1) for n in range(1000)]
    Judgements(engine).record(
        decide(n, stages=Stages(finished_ns=ns)) for n, ns in enumerate(durations)
    )

    version = _version(engine, registry)
    assert version.latency_p50_ms == pytest.approx(500, rel=0.01)
    assert version.latency_p99_ms == pytest.approx(990, rel=0.01)


def test_late_answers_violate_the_latency_expectation(engine: Engine, registry: Registry) -> None:
    late = Stages(finished_ns=60_000_000)  # 50 ms were promised
    Judgements(engine).record(decide(n, stages=late) for n in range(20))

    assert _state(_report(engine, registry), "latency_ms")[0] is State.VIOLATED


def test_failures_of_ours_violate_availability_and_those_of_the_client_do_not(
    engine: Engine, registry: Registry
) -> None:
    refused = {"served_by": "", "predicted": ()}
    judgements = Judgements(engine)
    judgements.record(decide(n, status=400, **refused) for n in range(200))
    assert _state(_report(engine, registry), "availability")[0] is State.HOLDS

    judgements.record(decide(n, status=503, **refused) for n in range(200, 400))
    assert _state(_report(engine, registry), "availability")[0] is State.VIOLATED


def test_fallbacks_to_another_version_count_against_the_live_one(
    engine: Engine, registry: Registry
) -> None:
    fell = {"version": "2", "served_by": "fallback:version", "fallback_reason": "outlier"}
    Judgements(engine).record(decide(n, **fell) for n in range(50))

    assert _state(_report(engine, registry), "fallback_share")[0] is State.VIOLATED


def test_what_happened_before_the_version_went_live_is_not_held_against_it(
    engine: Engine, registry: Registry
) -> None:
    registry.promote("mlp", None, who="test", why="")
    revision = _report(engine, registry).revision
    judgements = Judgements(engine)
    judgements.record(decide(n, version="2", status=503, served_by="") for n in range(50))
    assert _state(_report(engine, registry), "availability")[0] is State.UNKNOWN

    after = {"version": "2", "revision": revision, "status": 503, "served_by": ""}
    judgements.record(decide(n, **after) for n in range(50, 100))
    assert _state(_report(engine, registry), "availability")[0] is State.VIOLATED


def test_the_last_try_of_a_request_counts_and_only_it(engine: Engine, registry: Registry) -> None:
    judgements = Judgements(engine)
    first = decide(0, predicted=(1.0,), rows=1)
    second = decide(
        0, arrived_ns=first.arrived_ns + 1, rows=3, predicted=(0.0,), served_by="fallback:version"
    )

    assert judgements.record([first]) == 1
    assert judgements.record([second]) == 1
    assert judgements.record([second, first]) == 0
    found = _report(engine, registry)
    assert (found.requests, found.rows) == (1, 3)
    assert _version(engine, registry).served_by == {"fallback:version": 1}


def test_of_two_tries_in_one_reading_the_last_one_counts(
    engine: Engine, registry: Registry
) -> None:
    last = decide(0, arrived_ns=decide(0).arrived_ns + 1, rows=3)

    assert Judgements(engine).record([last, decide(0)]) == 1
    assert _report(engine, registry).rows == 3


def test_a_shadow_is_compared_with_the_live_version_and_with_labels(
    engine: Engine, registry: Registry, database_url: str
) -> None:
    judgements = Judgements(engine)
    decisions = [decide(n, rows=2, predicted=(1.0, 0.0), payload=CAPTURED) for n in range(3)]
    fallback = decide(3, served_by="fallback:constant", payload=CAPTURED)
    judgements.record([*decisions, fallback])
    ids = [decision.prediction_id for decision in (*decisions, fallback)]
    answers = {ids[0]: [1.0, 0.0], ids[1]: [1.0, 1.0], ids[2]: None, ids[3]: [1.0]}
    judgements.record_shadow("mlp", "2", answers, reader="r", position=4)
    FeedbackStore(database_url).add("mlp", [Feedback(i, row=1, label=1) for i in ids])

    shadow = _report(engine, registry).shadow
    assert shadow is not None
    assert (shadow.version, shadow.payloads, shadow.failed) == ("2", 3, 1)
    assert (shadow.agreement.hits, shadow.agreement.n) == (3, 4)
    assert (shadow.accuracy.hits, shadow.accuracy.n) == (1, 2)
    assert judgements.position("r") == 4


def test_captured_requests_are_listed_once_in_the_order_they_were_judged(engine: Engine) -> None:
    judgements = Judgements(engine)
    kept = [decide(n, payload=CAPTURED) for n in (5, 1, 3)]
    judgements.record([kept[0], decide(2)])
    judgements.record(kept[1:])

    def after(seq: int, since_ns: int = 0) -> list[str]:
        found = judgements.captured_after(seq, "mlp", since_ns=since_ns, limit=9)
        return [prediction for _, prediction, _ in found]

    assert set(after(0)) == {decision.prediction_id for decision in kept}
    assert after(0)[0] == kept[0].prediction_id
    assert after(2) == [d.prediction_id for d in kept[1:]]
    assert after(0, kept[0].arrived_ns) == [kept[0].prediction_id]


def test_strange_rows_are_counted_whether_or_not_the_guard_acts(
    engine: Engine, registry: Registry
) -> None:
    strange = '{"1":[{"guard":"outlier","kind":"outlier"},{"guard":"schema","kind":"range"}]}'
    failed = '{"0":[{"guard":"outlier","kind":"guard_failed"}]}'
    schema = '{"0":[{"guard":"schema","kind":"range"}]}'
    Judgements(engine).record(
        [
            decide(1, rows=3, p_values=(0.4, 0.001, float("nan")), reasons=strange, flagged=0),
            decide(2, rows=1, p_values=(), reasons=failed, flagged=1),
            decide(3, rows=1, p_values=(0.2,), reasons=schema, flagged=1),
        ]
    )

    found = _version(engine, registry).strange
    assert (found.hits, found.n) == (1, 3)
    assert found.low < found.estimate < found.high  # type: ignore[operator]


def test_abstentions_and_failing_guards_are_told(engine: Engine, registry: Registry) -> None:
    Judgements(engine).record(
        [
            decide(0, rows=3, abstained=2),
            decide(1, rows=1, failed_guards=("outlier", "output")),
            decide(2, rows=4),
        ]
    )

    found = _version(engine, registry)

    assert found.abstained_share == 2 / 8
    assert found.unguarded == 1
