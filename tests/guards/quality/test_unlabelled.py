"""Label-free estimates are right where what they assume is true, and say what that is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.quality.unlabelled.confidence_based import cbpe, expected_confusion
from guards.quality.unlabelled.isotonic import fit_curve
from guards.quality.unlabelled.regression import dle
from guards.quality.unlabelled.reweighted import density_ratio, pape
from guards.quality.unlabelled.source import Labelled, Unlabelled
from guards.quality.unlabelled.spread import ESTIMATORS, estimate_accuracy


def world(n: int, shift: float, rng: np.random.Generator) -> tuple[Labelled, Unlabelled, float]:
    """Two classes on a line; the model knows the truth but is twice as sure as it may be."""
    x = rng.normal(shift, 1.0, n)
    p = 1 / (1 + np.exp(-2 * x))
    labels = (rng.random(n) < p).astype(np.int64)
    boasting = 1 / (1 + np.exp(-4 * x))
    probabilities = np.column_stack([1 - boasting, boasting])
    labelled = Labelled(probabilities, labels, x[:, None])
    return labelled, Unlabelled(probabilities, x[:, None]), float(labelled.right.mean())


@pytest.mark.parametrize(("name", "method"), [(name, method) for name, method, _ in ESTIMATORS])
def test_where_nothing_changed_every_estimate_is_the_accuracy(name: str, method: object) -> None:
    rng = np.random.default_rng(0)
    source, _, _ = world(8000, 0.0, rng)
    _, traffic, accuracy = world(8000, 0.0, rng)

    assert method(source, traffic) == pytest.approx(accuracy, abs=0.015)  # type: ignore[operator]


@pytest.mark.parametrize(("shift", "tolerance"), [(0.7, 0.02), (-0.7, 0.02), (1.5, 0.02)])
def test_cbpe_and_pape_follow_a_covariate_shift(shift: float, tolerance: float) -> None:
    rng = np.random.default_rng(1)
    source, _, before = world(8000, 0.0, rng)
    _, traffic, accuracy = world(8000, shift, rng)

    assert abs(accuracy - before) > tolerance
    assert cbpe(source, traffic) == pytest.approx(accuracy, abs=tolerance)
    estimated = pape(source, traffic)
    assert np.isnan(estimated) or estimated == pytest.approx(accuracy, abs=2 * tolerance)


def test_pape_refuses_where_hardly_any_held_out_row_is_like_the_traffic() -> None:
    rng = np.random.default_rng(2)
    source, _, _ = world(2000, 0.0, rng)
    _, traffic, _ = world(2000, 3.5, rng)

    assert np.isnan(pape(source, traffic))


def test_concept_drift_moves_no_label_free_estimate() -> None:
    """The trap: labels turn around, confidence stays, and everybody is content."""
    rng = np.random.default_rng(3)
    source, _, before = world(4000, 0.0, rng)
    traffic = world(4000, 0.0, rng)[1]

    found = estimate_accuracy(source, traffic)

    assert found is not None
    assert found.low > before - 0.03  # whatever the labels will say
    assert all(one.assumption for one in found.estimates)


def test_too_few_rows_are_not_estimated() -> None:
    source, traffic, _ = world(99, 0.0, np.random.default_rng(4))

    assert estimate_accuracy(source, traffic) is None


def test_strange_traffic_is_told_beside_the_estimates() -> None:
    source, traffic, _ = world(200, 0.0, np.random.default_rng(5))
    strange = np.arange(200) < 50

    found = estimate_accuracy(source, Unlabelled(traffic.probabilities, strange=strange))

    assert found is not None
    assert found.strange_share == 0.25


def test_the_expected_confusion_counts_every_row_once() -> None:
    rng = np.random.default_rng(6)
    source, _, _ = world(5000, 0.0, rng)
    labelled, traffic, accuracy = world(5000, 0.5, rng)

    confusion = expected_confusion(source, traffic)

    assert confusion.sum() == pytest.approx(5000)
    assert np.trace(confusion) / 5000 == pytest.approx(accuracy, abs=0.02)
    share = labelled.labels.mean()
    assert confusion[:, 1].sum() / 5000 == pytest.approx(share, abs=0.02)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80),
    st.lists(st.floats(-1, 2), min_size=2, max_size=20),
)
def test_a_calibration_curve_never_falls_and_stays_within_zero_and_one(
    rows: list[tuple[float, bool]], asked: list[float]
) -> None:
    confidence, right = np.array([c for c, _ in rows]), np.array([r for _, r in rows])

    told = fit_curve(confidence, right)(np.sort(asked))

    assert np.all(np.diff(told) >= -1e-12)
    assert told.min() >= 0
    assert told.max() <= 1


def test_the_density_ratio_finds_what_became_more_frequent() -> None:
    rng = np.random.default_rng(7)
    source, traffic = rng.normal(0, 1, (4000, 2)), rng.normal([1.0, 0.0], 1, (4000, 2))

    ratio = density_ratio(source, traffic)

    truth = np.exp(source[:, 0] - 0.5)
    assert np.corrcoef(np.log(ratio), np.log(truth))[0, 1] > 0.95
    assert ratio.mean() == pytest.approx(1)


def test_dle_follows_errors_that_grow_with_a_feature() -> None:
    rng = np.random.default_rng(8)
    x = rng.uniform(0, 1, (6000, 2))
    errors = np.abs(rng.normal(0, 0.2 + x[:, 0]))
    shifted = rng.uniform(0, 1, (6000, 2)) ** [0.3, 1.0]
    truth = np.abs(rng.normal(0, 0.2 + shifted[:, 0])).mean()

    assert dle(x, errors, x) == pytest.approx(errors.mean(), rel=0.02)
    assert dle(x, errors, shifted) == pytest.approx(truth, rel=0.05)
    assert truth > 1.2 * errors.mean()
