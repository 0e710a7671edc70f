"""Accuracy while labels are late."""

from pathlib import Path

import numpy as np
import pytest

from gateway.evaluate.delayed import DelayedReport
from models.bundle import Bundle
from tests.gateway.evaluate.decisions import ARRIVED_NS
from tests.gateway.evaluate.traffic import Service, draw_world, pack_classifier

HOUR_NS = 3600 * 10**9
ROWS = 1500


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return pack_classifier(tmp_path_factory.mktemp("bundle") / "1")


@pytest.fixture
def service(tmp_path: Path, bundle: Bundle) -> Service:
    return Service(tmp_path, bundle)


def told_of(
    service: Service, *, share_ever: float = 1.0, slower: float = 25.0
) -> tuple[DelayedReport, float]:
    """Serve for 100 hours; labels of wrong answers take ``slower`` times one hour, exponentially.

    Returns:
        What the report says at the end, and the true accuracy.
    """
    rng = np.random.default_rng(0)
    world = draw_world(ROWS, rng)
    arrived = ARRIVED_NS + np.sort(rng.uniform(0, 100, ROWS) * HOUR_NS).astype(np.int64)
    service.now_ns = ARRIVED_NS + 100 * HOUR_NS
    decisions = service.serve(world, arrived_ns=arrived)
    right = world.probabilities.argmax(axis=1) == world.labels
    delays = rng.exponential(np.where(right, 1.0, slower)) * HOUR_NS
    hours = np.ceil((arrived + delays - ARRIVED_NS) / HOUR_NS).astype(int)  # sent once an hour
    ever = rng.random(ROWS) < share_ever
    for hour in range(1, 100):
        rows = np.flatnonzero((hours == hour) & ever)
        sent = [decisions[n] for n in rows]
        service.label(sent, world.labels[rows], received_ns=ARRIVED_NS + hour * HOUR_NS)
    found = service.report().quality
    assert found is not None
    assert found.delayed is not None
    return found.delayed, float(right.mean())


def test_the_labels_to_date_flatter_and_the_adjustment_takes_most_of_it_back(
    service: Service,
) -> None:
    found, truth = told_of(service)

    assert found.refused == ""
    assert found.labels_to_date is not None
    assert found.adjusted is not None
    assert found.labels_to_date > truth + 0.01
    assert abs(found.adjusted - truth) < abs(found.labels_to_date - truth) / 2
    assert found.median_delay_wrong_s is not None
    assert found.median_delay_right_s is not None
    assert found.median_delay_wrong_s > 3 * found.median_delay_right_s


def test_labels_that_never_come_are_not_taken_for_late(service: Service) -> None:
    found, _ = told_of(service, share_ever=0.5)

    assert found.adjusted is None
    assert "labels are missing, not late" in found.refused


def test_a_handful_of_labels_says_nothing_of_delays(service: Service) -> None:
    world = draw_world(60, np.random.default_rng(1))
    decisions = service.serve(world)
    service.label(decisions[:5], world.labels[:5], received_ns=service.now_ns - 1)

    quality = service.report().quality

    assert quality is not None
    assert quality.delayed is not None
    assert "20 are needed" in quality.delayed.refused


def test_without_any_label_there_is_nothing_to_adjust(service: Service) -> None:
    service.serve(draw_world(60, np.random.default_rng(1)))

    quality = service.report().quality

    assert quality is not None
    assert quality.delayed is None
