"""Quality and class frequencies while nobody has said what was true."""

from pathlib import Path

import numpy as np
import pytest

from gateway.evaluate.alerts import AlertWatch
from gateway.evaluate.captured import join_captured, read_captured
from gateway.evaluate.estimated import estimate_quality, judge_estimated
from gateway.evaluate.report import report
from guards.quality.expectation import State
from models.bundle import Bundle, load_held_out
from models.held_out import HeldOut
from tests.gateway.evaluate.test_performance import named
from tests.gateway.evaluate.traffic import (
    ALPHA,
    Service,
    World,
    captured_decisions,
    draw_world,
    pack_classifier,
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return pack_classifier(tmp_path_factory.mktemp("bundle") / "1", expectations={"accuracy": 0.75})


@pytest.fixture
def service(tmp_path: Path, bundle: Bundle) -> Service:
    return Service(tmp_path, bundle)


def harder(n: int, rng: np.random.Generator) -> World:
    """Rows near the boundary: the model says that it does not know, and it is right."""
    x = (rng.normal(size=(n, 2)) * [0.1, 1]).astype(np.float32)
    second = 1 / (1 + np.exp(-3 * x[:, 0].astype(np.float64)))
    labels = (rng.random(n) < second).astype(np.int64)
    return World(x, np.column_stack([1 - second, second]).astype(np.float32), labels)


def test_estimates_are_near_the_truth_where_their_assumptions_hold(service: Service) -> None:
    world = draw_world(2000, np.random.default_rng(0))
    service.serve(world)

    found = service.report().quality

    assert found is not None
    assert found.estimated is not None
    truth = float(np.mean(world.probabilities.argmax(axis=1) == world.labels))
    assert {one.method for one in found.estimated.estimates} == {"cbpe", "atc", "doc", "pape"}
    for one in found.estimated.estimates:
        assert one.assumption
        assert one.value == pytest.approx(truth, abs=0.04)
    assert found.estimated.low <= truth + 0.03
    assert found.estimated.high >= truth - 0.03


def test_an_estimate_far_above_the_target_leaves_the_expectation_unknown(
    service: Service,
) -> None:
    easy = draw_world(3000, np.random.default_rng(1))
    keep = np.abs(easy.x[:, 0]) > 1
    service.serve(World(easy.x[keep], easy.probabilities[keep], easy.labels[keep]))

    found = service.report()

    accuracy = named(found, "accuracy")
    assert found.quality is not None
    assert found.quality.estimated is not None
    assert found.quality.estimated.low > 0.9
    assert accuracy.state is State.UNKNOWN
    assert accuracy.reason.startswith("no labels yet: 0 of ")
    assert "an estimate alone never says that it holds" in accuracy.reason
    assert named(found, "estimated_accuracy").state is State.UNKNOWN


def test_an_estimate_below_the_target_raises_an_alert_before_there_is_a_label(
    service: Service,
) -> None:
    service.serve(harder(1000, np.random.default_rng(2)))

    found = service.report()
    AlertWatch(
        service.registry,
        lambda model: report(service.engine, service.registry, model, alpha=ALPHA),
        service.store,
        clock_s=lambda: 1.0,
    ).tick()

    assert named(found, "estimated_accuracy").state is State.VIOLATED
    assert named(found, "accuracy").state is State.UNKNOWN
    assert [one.expectation for one in service.report().alerts] == ["estimated_accuracy"]


def test_too_few_rows_are_not_estimated_from(service: Service) -> None:
    service.serve(draw_world(99, np.random.default_rng(3)))

    found = service.report()

    assert found.quality is not None
    assert found.quality.estimated is None
    assert [one.name for one in found.expectations if "estimated" in one.name] == []
    assert found.drift is None


def test_a_bundle_without_labelled_rows_has_no_estimates(tmp_path: Path) -> None:
    bundle = pack_classifier(tmp_path / "1", labelled=False)
    service = Service(tmp_path, bundle)
    service.serve(draw_world(200, np.random.default_rng(4)))

    found = service.report()

    assert found.quality is not None
    assert found.quality.estimated is None
    assert found.drift is None


def test_classes_that_became_frequent_are_found_and_by_how_much(service: Service) -> None:
    rng = np.random.default_rng(5)
    world = draw_world(8000, rng)
    kept = (world.labels == 1) | (rng.random(8000) < 0.25)  # P(1): from 0.5 to 0.8
    service.serve(World(world.x[kept][:2000], world.probabilities[kept][:2000], np.empty(2000)))

    drift = service.report().drift

    assert drift is not None
    for told in drift.prior:
        assert told.alarm
        assert told.classes[1].ratio == pytest.approx(1.6, abs=0.12)
        assert told.classes[0].ratio == pytest.approx(0.4, abs=0.12)
        assert "P(input | class)" in told.assumption
    assert [told.method for told in drift.prior] == ["bbse", "mlls"]


def test_classes_as_frequent_as_before_are_no_shift(service: Service) -> None:
    service.serve(draw_world(2000, np.random.default_rng(6)))

    drift = service.report().drift

    assert drift is not None
    assert not any(told.alarm for told in drift.prior)


def test_an_alarm_without_a_fall_is_rare_and_one_about_a_fall_is_not(bundle: Bundle) -> None:
    """At a target that the model just keeps, and with rows of which more are hard."""
    held_out = load_held_out(bundle)
    assert held_out is not None
    rng = np.random.default_rng(8)
    truth = float(draw_world(400_000, rng).probabilities.max(axis=1).mean())  # it is calibrated
    false = missed = 0
    for _ in range(50):
        same, hard = draw_world(1000, rng), harder(400, rng)
        mixed = World(
            np.concatenate([same.x[:600], hard.x]),
            np.concatenate([same.probabilities[:600], hard.probabilities]),
            np.empty(1000),
        )
        false += _alarms(bundle, held_out, same, truth)
        missed += not _alarms(bundle, held_out, mixed, truth)

    assert false == 0
    assert missed == 0


def _alarms(bundle: Bundle, held_out: HeldOut, world: World, target: float) -> bool:
    """Whether estimates from the rows of ``world`` violate the target."""
    parts = [read_captured(one, bundle.manifest) for one in captured_decisions(world)]
    captured = join_captured([part for part in parts if part is not None])
    judged = judge_estimated(estimate_quality(bundle.manifest, held_out, captured), target)
    assert judged is not None
    return judged.state is State.VIOLATED
