"""Which rows an audit chooses, and what their labels say of all of them."""

from pathlib import Path

import numpy as np
import pytest

from gateway.errors import ConflictError, UnknownModelError
from gateway.evaluate.audit import AuditReport
from gateway.evaluate.auditor import Auditor
from guards.quality.expectation import State
from models.bundle import Bundle
from tests.gateway.evaluate.test_performance import named
from tests.gateway.evaluate.traffic import Service, World, draw_world, pack_classifier
from tests.gateway.registry.bundles import make_bundle

ROWS, BUDGET = 3000, 300


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return pack_classifier(tmp_path_factory.mktemp("bundle") / "1", expectations={"accuracy": 0.7})


@pytest.fixture
def service(tmp_path: Path, bundle: Bundle) -> Service:
    return Service(tmp_path, bundle)


def auditor(service: Service) -> Auditor:
    return Auditor(
        service.engine,
        service.registry,
        service.evidence,
        lambda _: service.bundle,
        salt=lambda: b"the same rows in every run",
    )


def answer(service: Service, world: World, chosen: list[dict[str, object]]) -> None:
    """Label the chosen rows."""
    places = {d.prediction_id: n for n, d in enumerate(service.served)}
    rows = [places[str(one["prediction_id"])] for one in chosen]
    service.label([service.served[n] for n in rows], world.labels[rows])


def audit_of(service: Service) -> AuditReport:
    found = service.report().audit
    assert found is not None
    return found


def test_an_audit_tells_the_accuracy_of_all_rows_from_labels_of_the_hard_ones(
    service: Service,
) -> None:
    world = draw_world(ROWS, np.random.default_rng(0))
    service.serve(world)
    right = world.probabilities.argmax(axis=1) == world.labels

    told = auditor(service).choose("mlp", budget=BUDGET)
    answer(service, world, told["chosen"])

    assert told["round"] == 1
    assert abs(len(told["chosen"]) - BUDGET) < 4 * np.sqrt(BUDGET)
    found = audit_of(service)
    assert (found.rows, found.labels, found.waiting) == (ROWS, len(told["chosen"]), 0)
    assert found.low is not None
    assert found.high is not None
    assert found.anytime_low is not None
    assert found.narrower is not None
    assert found.low <= right.mean() <= found.high
    assert found.anytime_low < found.low
    assert found.narrower < 1
    accuracy = named(service.report(), "accuracy")
    assert accuracy.state is State.HOLDS
    assert accuracy.reason.startswith("audit of 3,000 rows: ")
    plain = next(v for v in service.report().versions if v.version == "1").accuracy
    assert plain.estimate is not None
    assert plain.estimate < right.mean() - 0.05  # as the hard rows are


def test_before_four_fifths_are_labelled_the_audit_waits_and_says_for_how_many(
    service: Service,
) -> None:
    world = draw_world(ROWS, np.random.default_rng(1))
    service.serve(world)
    chosen = auditor(service).choose("mlp", budget=BUDGET)["chosen"]
    few = len(chosen) // 2
    answer(service, world, chosen[:few])

    found = audit_of(service)
    accuracy = named(service.report(), "accuracy")

    assert (found.rounds, found.accuracy, found.waiting) == (0, None, len(chosen) - few)
    assert accuracy.state is State.UNKNOWN
    assert f"{len(chosen) - few} chosen rows wait" in accuracy.reason
    waiting = auditor(service).waiting("mlp")["waiting"]
    assert {one["prediction_id"] for one in waiting} == {
        one["prediction_id"] for one in chosen[few:]
    }


def test_rounds_share_no_row_and_add_up(service: Service) -> None:
    first = draw_world(1000, np.random.default_rng(2))
    service.serve(first)
    one = auditor(service).choose("mlp", budget=100)["chosen"]
    second = draw_world(1000, np.random.default_rng(3))
    service.serve(second)
    world = World(
        np.concatenate([first.x, second.x]),
        np.concatenate([first.probabilities, second.probabilities]),
        np.concatenate([first.labels, second.labels]),
    )

    told = auditor(service).choose("mlp", budget=100)
    answer(service, world, one + told["chosen"])

    assert told["round"] == 2
    assert not {r["prediction_id"] for r in one} & {r["prediction_id"] for r in told["chosen"]}
    found = audit_of(service)
    assert (found.rounds, found.rows) == (2, 2000)
    right = world.probabilities.argmax(axis=1) == world.labels
    assert found.anytime_low is not None
    assert found.anytime_high is not None
    assert found.anytime_low <= right.mean() <= found.anytime_high


def test_labels_that_nobody_asked_for_change_no_audit(service: Service) -> None:
    world = draw_world(1000, np.random.default_rng(4))
    decisions = service.serve(world)
    chosen = auditor(service).choose("mlp", budget=200)["chosen"]
    answer(service, world, chosen)
    before = audit_of(service)
    asked = {one["prediction_id"] for one in chosen}
    others = [n for n, d in enumerate(decisions) if d.prediction_id not in asked]

    service.label([decisions[n] for n in others], 1 - world.labels[others])

    assert audit_of(service) == before


def test_labels_that_an_audit_asked_for_do_not_slander_the_other_measures(
    service: Service,
) -> None:
    world = draw_world(ROWS, np.random.default_rng(6))
    decisions = service.serve(world)
    chosen = auditor(service).choose("mlp", budget=BUDGET)["chosen"]
    answer(service, world, chosen)
    asked = {one["prediction_id"] for one in chosen}
    others = [n for n, d in enumerate(decisions) if d.prediction_id not in asked][:500]

    assert service.report().performance == ()
    service.label([decisions[n] for n in others], world.labels[others])

    found = service.report()
    assert found.quality is not None
    assert {one.n for one in (*found.performance, *found.quality.scored)} == {500}
    assert sum(o.metric.n for o in found.quality.slices if o.by == "predicted") == 500


def test_a_budget_beyond_the_rows_takes_all_and_then_nothing_is_left(service: Service) -> None:
    service.serve(draw_world(50, np.random.default_rng(5)))

    assert len(auditor(service).choose("mlp", budget=1000)["chosen"]) == 50
    with pytest.raises(ConflictError, match="in no audit before"):
        auditor(service).choose("mlp", budget=1)


def test_what_cannot_be_audited_is_refused(service: Service, tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError):
        auditor(service).choose("nobody", budget=1)
    with pytest.raises(UnknownModelError):
        auditor(service).waiting("nobody")
    with pytest.raises(ConflictError, match=r"capture\.share"):
        auditor(service).choose("mlp", budget=1)
    numbers = make_bundle(tmp_path / "toy")
    service.registry.register(numbers, as_="live", trust_code=False, who="test")
    with pytest.raises(ConflictError, match="captured rows"):
        auditor(service).choose("toy", budget=1)
