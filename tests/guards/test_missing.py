"""Gaps where the reference has gaps are scored; elsewhere they are strange by decree."""

import numpy as np

from guards.outlier.guard import OutlierGuard, OutlierSettings
from guards.verdict import Rows

SETTINGS = OutlierSettings(alpha=0.05, dry_run=False)


def rows_with_gaps(n: int, *, seed: int, share: float = 0.3) -> Rows:
    """Column 1 is missing in some rows, column 4 in all; column 0 never."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 5)) + 3
    rows[rng.uniform(size=n) < share, 1] = np.nan
    rows[:, 4] = np.nan
    return np.asarray(rows)


def guard() -> OutlierGuard:
    return OutlierGuard.fit(rows_with_gaps(800, seed=0), rows_with_gaps(800, seed=1), SETTINGS)


def test_rows_with_usual_gaps_are_no_stranger_than_others() -> None:
    strange = guard().is_strange(rows_with_gaps(4000, seed=2))

    assert strange.mean() <= 0.06


def test_a_gap_where_the_reference_has_none_is_strange_by_decree() -> None:
    rows = rows_with_gaps(50, seed=3)
    rows[:, 0] = np.nan
    fitted = guard()

    assert fitted.is_strange(rows).all()
    assert fitted.check(rows).reasons[0][0].kind == "missing"


def test_a_row_with_a_gap_may_be_strange_for_its_other_values() -> None:
    rows = rows_with_gaps(50, seed=4)
    rows[:, 2] += 30

    assert guard().is_strange(rows).all()


def test_a_rare_gap_counts_more_than_a_common_one() -> None:
    reference = rows_with_gaps(3000, seed=0)[:, :4]
    reference[:3, 2] = np.nan
    fitted = OutlierGuard.fit(reference, rows_with_gaps(800, seed=1)[:, :4], SETTINGS)
    row = np.full((2, 4), 3.0)
    row[0, 1] = row[1, 2] = np.nan

    often, seldom = fitted.p_values(row)
    assert seldom < often


def test_a_value_in_a_column_that_was_always_empty_is_seen() -> None:
    rows = rows_with_gaps(50, seed=5)
    rows[:, 4] = 7.0

    assert guard().is_strange(rows).mean() > 0.9


def test_gaps_survive_a_file_without_pickle() -> None:
    fitted = guard()
    twin = OutlierGuard.from_arrays(fitted.to_arrays(), SETTINGS)
    rows = rows_with_gaps(100, seed=6)

    np.testing.assert_array_equal(twin.p_values(rows), fitted.p_values(rows))
