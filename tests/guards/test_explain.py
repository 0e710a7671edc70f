"""A strange row names the field that made it strange."""

import numpy as np
import pytest

from guards.outlier.guard import OutlierGuard, OutlierSettings
from guards.verdict import Rows

DEFAULT = OutlierSettings()
D = 10


def rows_of(n: int, *, seed: int) -> Rows:
    """Ten fields driven by three hidden ones, on unlike scales."""
    loadings = np.random.default_rng(7).normal(size=(3, D))
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 3)) @ loadings + 0.3 * rng.normal(size=(n, D))) * np.logspace(
        0, 3, D
    )


@pytest.fixture(scope="module")
def guard() -> OutlierGuard:
    names = [f"f{column}" for column in range(D)]
    return OutlierGuard.fit(
        rows_of(2000, seed=0), rows_of(1000, seed=1), DEFAULT, feature_names=names
    )


def share_blamed_rightly(guard: OutlierGuard, rows: Rows, wrong: np.ndarray) -> float:
    """Share of the strange rows whose first reason is the field that was changed."""
    reasons = guard.check(rows).reasons
    assert len(reasons) >= 50
    return float(np.mean([why[0].feature == f"f{wrong[row]}" for row, why in reasons.items()]))


def test_a_field_six_sigma_out_is_the_first_reason() -> None:
    rows = rows_of(300, seed=2)
    wrong = np.random.default_rng(3).integers(0, D, len(rows))
    spread = rows_of(2000, seed=0).std(axis=0)
    rows[np.arange(len(rows)), wrong] += 6 * spread[wrong]
    names = [f"f{column}" for column in range(D)]
    fitted = OutlierGuard.fit(
        rows_of(2000, seed=0), rows_of(1000, seed=1), DEFAULT, feature_names=names
    )

    assert share_blamed_rightly(fitted, rows, wrong) >= 0.95


def test_a_field_at_odds_with_the_others_is_the_first_reason(guard: OutlierGuard) -> None:
    """Six conditional sigma: unremarkable alone, impossible beside the other fields."""
    rows = rows_of(300, seed=2)
    wrong = np.random.default_rng(3).integers(0, D, len(rows))
    rows[np.arange(len(rows)), wrong] += 6 * 0.3 * np.logspace(0, 3, D)[wrong]

    assert share_blamed_rightly(guard, rows, wrong) >= 0.85


def test_the_expectation_is_the_regression_on_the_other_fields(guard: OutlierGuard) -> None:
    """Ordinary least squares on the reference is the oracle."""
    reference = rows_of(2000, seed=0)
    row = rows_of(1, seed=4)
    row[0, 3] += 30
    others = [column for column in range(D) if column != 3]
    design = np.column_stack([np.ones(len(reference)), reference[:, others]])
    weights, residue, *_ = np.linalg.lstsq(design, reference[:, 3], rcond=None)
    spread = float(np.sqrt(residue[0] / len(reference)))

    reason = guard.check(row).reasons[0][0]
    mean, width = (float(word) for word in reason.expected.split()[0:3:2])

    assert (reason.feature, reason.kind, reason.observed) == ("f3", "conditional", row[0, 3])
    assert reason.expected.endswith("given the other fields")
    # Shrinkage of the covariance pulls the mean in and widens the interval, both slightly.
    assert mean == pytest.approx(weights[0] + row[0, others] @ weights[1:], abs=0.3 * spread)
    assert width == pytest.approx(spread, rel=0.15)


def test_a_field_far_out_on_its_own_is_compared_with_its_own_range(guard: OutlierGuard) -> None:
    row = rows_of(1, seed=5)
    row[0, 2] = 1e6
    reason = guard.check(row).reasons[0][0]

    assert (reason.feature, reason.kind, reason.observed) == ("f2", "tail", 1e6)
    assert "given" not in reason.expected
    assert reason.p is not None
    assert reason.p < 1e-9


def test_the_columns_of_one_tensor_are_numbered() -> None:
    guard = OutlierGuard.fit(
        rows_of(500, seed=0), rows_of(300, seed=1), DEFAULT, feature_names=["image"]
    )
    row = rows_of(1, seed=2)
    row[0, 3] = np.nan

    assert guard.check(row).reasons[0][0].feature == "image[3]"


def test_several_names_must_be_one_per_column() -> None:
    with pytest.raises(ValueError, match="2 names for 10 columns"):
        OutlierGuard.fit(
            rows_of(500, seed=0), rows_of(300, seed=1), DEFAULT, feature_names=["a", "b"]
        )
