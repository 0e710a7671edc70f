"""Measures of right and wrong, from the labels to the report and the alerts."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from gateway.evaluate.alerts import AlertWatch
from gateway.evaluate.expectations import Expectation
from gateway.evaluate.report import Report, report
from guards.quality.expectation import State
from models.bundle import Bundle
from tests.gateway.evaluate.traffic import ALPHA, Service, draw_world, pack_classifier

PROMISED = {
    "accuracy": 0.7,
    "error_rate": 0.3,
    "balanced_accuracy": 0.7,
    "auroc": 0.75,
    "rmse": 1.0,
    "worst_slice": 0.6,
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return pack_classifier(
        tmp_path_factory.mktemp("bundle") / "1",
        expectations=PROMISED,
        slices=[{"by": "width", "edges": [0.0]}],
    )


@pytest.fixture
def service(tmp_path: Path, bundle: Bundle) -> Service:
    return Service(tmp_path, bundle)


def named(found: Report, name: str) -> Expectation:
    return next(one for one in found.expectations if one.name == name)


def test_measures_are_those_of_scikit_learn(service: Service) -> None:
    world = draw_world(400, np.random.default_rng(0))
    service.label(service.serve(world), world.labels)

    found = service.report()

    predicted = world.probabilities.argmax(axis=1)
    told = {one.metric: one.estimate for one in found.performance}
    assert told["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(world.labels, predicted)
    )
    assert told["macro_f1"] == pytest.approx(f1_score(world.labels, predicted, average="macro"))
    assert found.quality is not None
    scored = {one.metric: one.estimate for one in found.quality.scored}
    assert scored["auroc"] == pytest.approx(roc_auc_score(world.labels, world.probabilities[:, 1]))


def test_without_labels_every_measure_is_unknown_and_says_of_how_many(service: Service) -> None:
    service.serve(draw_world(40, np.random.default_rng(0)))

    found = service.report()

    for name in ("error_rate", "balanced_accuracy", "auroc"):
        assert (named(found, name).state, named(found, name).reason) == (
            State.UNKNOWN,
            "no labels yet: 0 of 40",
        )
    assert "no slice has 30 labels" in named(found, "worst_slice").reason
    assert "answers classes" in named(found, "rmse").reason


def test_labels_settle_every_promise_and_wrong_ones_break_it(service: Service) -> None:
    rng = np.random.default_rng(1)
    world = draw_world(3000, rng)
    decisions = service.serve(world)
    service.label(decisions, world.labels)

    found = service.report()
    judged = ("accuracy", "error_rate", "balanced_accuracy", "auroc", "worst_slice")
    assert {name: named(found, name).state for name in judged} == dict.fromkeys(judged, State.HOLDS)

    service.label(decisions, 1 - world.labels)
    found = service.report()
    assert {name: named(found, name).state for name in judged} == dict.fromkeys(
        judged, State.VIOLATED
    )


def test_one_bad_slice_violates_the_promise_that_the_whole_keeps(service: Service) -> None:
    world = draw_world(4000, np.random.default_rng(2))
    is_wide = (world.x[:, 1] >= 0) & (np.arange(4000) % 2 == 0)
    labels = np.where(is_wide, 1 - world.probabilities.argmax(axis=1), world.labels)
    service.label(service.serve(world), labels)

    found = service.report()

    worst = named(found, "worst_slice")
    assert worst.state is State.VIOLATED
    assert worst.reason.startswith("width=[0, inf)")
    assert found.quality is not None
    assert {one.by for one in found.quality.slices} == {"width", "predicted"}


def test_rows_answered_by_the_ladder_and_texts_for_labels_change_no_measure(
    service: Service,
) -> None:
    world = draw_world(60, np.random.default_rng(3))
    service.label(service.serve(world), world.labels)
    before = service.report()
    fell = service.serve(world, served_by="fallback:constant", fallback_reason="deadline")
    service.label(fell, 1 - world.labels)

    found = service.report()

    assert found.performance == before.performance
    assert found.quality == before.quality


def test_a_label_that_is_no_class_leaves_the_probabilities_alone(service: Service) -> None:
    world = draw_world(50, np.random.default_rng(3))
    decisions = service.serve(world)
    service.label(decisions[:40], world.labels[:40])
    service.label(decisions[40:], np.full(10, 7))

    found = service.report()

    assert found.quality is not None
    assert {one.n for one in found.quality.scored} == {40}
    assert {one.n for one in found.performance} == {50}


def test_another_evaluator_goes_on_and_says_the_same(service: Service) -> None:
    world = draw_world(300, np.random.default_rng(4))
    decisions = service.serve(world)
    service.label(decisions[:100], world.labels[:100])
    before = service.report()
    more = draw_world(100, np.random.default_rng(5))
    service.label(service.serve(more), more.labels)
    once = service.report()

    service.restart()

    again = service.report()
    assert before != once
    assert (again.quality, again.expectations) == (once.quality, once.expectations)


def test_an_alert_begins_with_a_violation_and_ends_with_it(service: Service) -> None:
    now_s = [1000.0]
    watch = AlertWatch(
        service.registry,
        lambda model: report(service.engine, service.registry, model, alpha=ALPHA),
        service.store,
        clock_s=lambda: now_s[0],
    )
    world = draw_world(400, np.random.default_rng(6))
    decisions = service.serve(world)
    watch.tick()
    assert {s.state for s in service.store.signals()} == {"unknown"}
    assert service.report().alerts == ()

    service.label(decisions, 1 - world.labels)
    service.report()
    now_s[0] = 2000.0
    watch.tick()
    watch.tick()
    told = service.report().alerts
    assert "accuracy" in {alert.expectation for alert in told}
    assert {(alert.since_s, alert.until_s) for alert in told} == {(2000.0, None)}
    assert "interval" in told[0].reason
    states = {s.expectation: s.state for s in service.store.signals()}
    assert states["accuracy"] == "violated"

    service.label(decisions, world.labels)
    service.report()
    now_s[0] = 3000.0
    watch.tick()
    assert {(a.since_s, a.until_s) for a in service.report().alerts} == {(2000.0, 3000.0)}
