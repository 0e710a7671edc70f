"""The outlier guard: what it promises and what it sees."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits

from guards.errors import CalibrationTooSmallError, ReferenceTooSmallError, ShapeMismatchError
from guards.outlier.conformal import Calibration
from guards.outlier.detector import Detector
from guards.outlier.guard import OutlierGuard, OutlierSettings
from guards.verdict import Action, Rows

DEFAULT = OutlierSettings()


def gaussian(n: int, d: int = 8, *, seed: int) -> Rows:
    mixing = np.random.default_rng(99).normal(size=(d, d)) / np.sqrt(d)
    return np.asarray(np.random.default_rng(seed).normal(size=(n, d)) @ mixing)


@pytest.fixture(scope="module")
def guard() -> OutlierGuard:
    return OutlierGuard.fit(gaussian(1000, seed=0), gaussian(1000, seed=1), DEFAULT)


def flagged_share(guard: OutlierGuard, rows: Rows) -> float:
    return float(np.mean(guard.check(rows).actions > Action.ALLOW))


def test_at_most_delta_of_calibration_draws_exceed_alpha() -> None:
    """200 draws of 1,000 held-out rows; false alarms counted on 40,000 fresh ones."""
    draws, n = 200, 1000
    detector = Detector.fit(gaussian(200, 4, seed=0), neighbours=5)
    fresh = detector.score(gaussian(40_000, 4, seed=1))
    held_out = detector.score(gaussian(draws * n, 4, seed=2)).reshape(draws, n)
    rates = np.array(
        [
            np.mean(calibration.p_values(fresh) <= calibration.threshold)
            for calibration in (
                Calibration.of(scores, alpha=0.01, delta=0.05, guard="outlier")
                for scores in held_out
            )
        ]
    )

    standard_error = np.sqrt(0.05 * 0.95 / draws)
    assert np.mean(rates > 0.01) <= 0.05 + standard_error
    assert 0.003 <= rates.mean() <= 0.01


def test_a_row_is_strange_exactly_when_its_p_value_reaches_the_threshold(
    guard: OutlierGuard,
) -> None:
    rows = np.vstack([gaussian(2000, seed=3), 5 * gaussian(50, seed=4)])
    verdict = guard.check(rows)

    assert verdict.p_values is not None
    assert verdict.threshold is not None
    strange = verdict.p_values <= verdict.threshold
    np.testing.assert_array_equal(verdict.actions == Action.FLAG, strange)
    assert 0 < strange.sum() < len(rows)


def test_the_guarantee_names_what_it_was_calibrated_to(guard: OutlierGuard) -> None:
    guarantee = guard.check(gaussian(1, seed=5)).guarantee

    assert guarantee is not None
    assert (guarantee.alpha, guarantee.delta, guarantee.n) == (0.01, 0.05, 1000)
    assert guarantee.mode == "pac"


def test_a_row_that_is_not_finite_gets_the_smallest_p_value(guard: OutlierGuard) -> None:
    rows = gaussian(4, seed=6)
    rows[[0, 1, 2], [0, 3, 7]] = [np.nan, np.inf, -np.inf]
    rows[3, 2] = 1.7e308  # finite, but not once it is divided by a small spread
    verdict = guard.check(rows)

    assert verdict.p_values is not None
    np.testing.assert_array_equal(verdict.p_values, 1 / 1001)
    assert (verdict.actions == Action.FLAG).all()
    assert [verdict.reasons[row][0].kind for row in range(3)] == [
        "missing",
        "nonfinite",
        "nonfinite",
    ]


def test_a_broken_row_changes_nothing_for_its_batch_mates(guard: OutlierGuard) -> None:
    rows = gaussian(200, seed=7)
    clean = guard.check(rows).p_values
    rows[17] = np.nan
    dirty = guard.check(rows).p_values

    assert clean is not None
    assert dirty is not None
    np.testing.assert_array_equal(np.delete(dirty, 17), np.delete(clean, 17))


@pytest.mark.parametrize("d", [3, 30, 64, 128, 200])
def test_a_score_is_the_same_to_the_last_bit_in_a_batch_of_any_size(d: int) -> None:
    detector = Detector.fit(gaussian(500, d, seed=0), neighbours=5)
    rows = gaussian(130, d, seed=2).astype(np.float32)
    together = detector.score(rows)

    for size in (1, 2, 3, 7, 64, 65):
        parts = [detector.score(rows[at : at + size]) for at in range(0, 130, size)]
        np.testing.assert_array_equal(np.concatenate(parts), together)


def test_rows_repeated_from_the_reference_are_not_strange(guard: OutlierGuard) -> None:
    middle = gaussian(1000, seed=0)
    middle = middle[np.argsort(np.abs(middle).max(axis=1))[:300]]

    assert flagged_share(guard, middle) == 0


def test_a_reference_full_of_duplicates_still_makes_a_guard() -> None:
    reference = np.repeat(gaussian(20, seed=0), 50, axis=0)
    guard = OutlierGuard.fit(reference, reference[::3], DEFAULT)

    assert flagged_share(guard, reference) == 0
    assert flagged_share(guard, 20 + gaussian(50, seed=1)) == 1


def test_a_reference_of_one_single_row_repeated_still_makes_a_guard() -> None:
    constant = np.full((400, 5), 0.1)
    guard = OutlierGuard.fit(constant, constant, DEFAULT)

    assert flagged_share(guard, constant) == 0
    assert flagged_share(guard, constant + 0.01 * np.eye(5)[2]) == 1


def test_a_column_that_never_moved_makes_a_row_strange_when_it_moves() -> None:
    reference, held_out, fresh = (gaussian(n, seed=seed) for seed, n in enumerate((900, 600, 200)))
    for rows in (reference, held_out, fresh):
        rows[:, 3] = 0.1
    guard = OutlierGuard.fit(reference, held_out, DEFAULT)
    assert flagged_share(guard, fresh.astype(np.float32)) < 0.05  # 0.1 is rounded on the way

    fresh[:, 3] = 0.11
    assert flagged_share(guard, fresh) > 0.95


def test_more_columns_than_rows_still_keep_the_false_alarms_down() -> None:
    guard = OutlierGuard.fit(gaussian(60, 200, seed=0), gaussian(400, 200, seed=1), DEFAULT)

    assert flagged_share(guard, gaussian(4000, 200, seed=2)) <= 0.02
    assert flagged_share(guard, 3 * gaussian(100, 200, seed=3)) == 1


def test_columns_far_from_zero_lose_no_digits() -> None:
    """Float32 alone cannot tell 1e6 + 0.01 from 1e6: centre first."""
    near = OutlierGuard.fit(gaussian(500, seed=0), gaussian(300, seed=1), DEFAULT)
    far = OutlierGuard.fit(gaussian(500, seed=0) + 1e6, gaussian(300, seed=1) + 1e6, DEFAULT)
    rows = gaussian(300, seed=2)

    there, here = far.check(rows + 1e6).p_values, near.check(rows).p_values
    np.testing.assert_allclose(there, here, atol=1.5 / 301)  # type: ignore[arg-type]


def test_tied_scores_do_not_raise_the_false_alarms() -> None:
    """Three binary columns make eight possible rows: every score is an atom."""
    rng = np.random.default_rng(0)
    reference, held_out, fresh = (
        (rng.uniform(size=(n, 3)) < [0.5, 0.1, 0.02]).astype(float) for n in (500, 1000, 20_000)
    )
    guard = OutlierGuard.fit(reference, held_out, DEFAULT)

    assert flagged_share(guard, fresh) <= 0.01


def test_alpha_may_be_changed_without_fitting_again(guard: OutlierGuard) -> None:
    looser = OutlierGuard.from_arrays(guard.to_arrays(), OutlierSettings(alpha=0.2))
    rows = gaussian(4000, seed=8)

    assert flagged_share(guard, rows) < 0.02 < flagged_share(looser, rows) <= 0.2


def test_a_dry_run_judges_but_allows() -> None:
    reference, held_out, far = gaussian(300, seed=0), gaussian(300, seed=1), np.full((1, 8), 99.0)
    dry = OutlierGuard.fit(reference, held_out, OutlierSettings(action="reject", dry_run=True))
    verdict = dry.check(far)

    assert verdict.actions.tolist() == [Action.ALLOW]
    assert verdict.p_values is not None
    assert verdict.p_values[0] <= verdict.threshold
    assert verdict.reasons[0]


def test_incomplete_rows_do_not_count_towards_the_calibration() -> None:
    held_out = gaussian(310, seed=1)
    held_out[:20, 0] = np.nan

    with pytest.raises(CalibrationTooSmallError, match="at least 299 held-out rows, got 290"):
        OutlierGuard.fit(gaussian(300, seed=0), held_out, DEFAULT)


def test_a_reference_too_small_to_have_neighbours_is_refused() -> None:
    with pytest.raises(ReferenceTooSmallError, match="at least 9 complete reference rows, got 8"):
        OutlierGuard.fit(gaussian(8, seed=0), gaussian(300, seed=1), DEFAULT)

    assert OutlierGuard.fit(gaussian(9, seed=0), gaussian(300, seed=1), DEFAULT)


def test_held_out_rows_of_another_width_are_refused() -> None:
    with pytest.raises(ShapeMismatchError):
        OutlierGuard.fit(gaussian(300, 8, seed=0), gaussian(300, 7, seed=1), DEFAULT)


def test_a_large_reference_is_cut_down_before_calibration() -> None:
    small = OutlierSettings(reference_rows=64)
    guard = OutlierGuard.fit(gaussian(5000, seed=0), gaussian(1000, seed=1), small)

    assert guard.to_arrays()["points"].shape == (64, 8)
    assert flagged_share(guard, gaussian(20_000, seed=2)) <= 0.01


def test_cross_fitting_needs_no_held_out_rows_and_keeps_its_promise() -> None:
    """40 references of 150 rows, in 6 columns: fitted in-sample, a covariance would double it."""
    settings = OutlierSettings(alpha=0.02, calibration="cross")
    fresh = gaussian(4000, 6, seed=1)
    rates = []
    for seed in range(40):
        reference = gaussian(150, 6, seed=100 + seed)
        guard = OutlierGuard.fit(reference[:100], reference[100:], settings)
        rates.append(guard.is_strange(fresh).mean())

    assert np.mean(rates) == pytest.approx(0.02, abs=0.008)
    assert guard.calibration.guarantee.alpha == 0.04
    assert guard.calibration.guarantee.n == 150


def test_what_is_fitted_on_its_own_calibration_rows_would_break_the_promise() -> None:
    """The trap that cross-fitting avoids."""
    in_sample, crossed = [], []
    fresh = gaussian(2000, 20, seed=1)
    for seed in range(10):
        reference = gaussian(150, 20, seed=100 + seed)
        detector = Detector.fit(reference, neighbours=5)
        cut = np.sort(detector.score(reference))[-7]
        in_sample.append(np.mean(detector.score(fresh) > cut))
        settings = OutlierSettings(alpha=0.0465, calibration="cross")  # rank 7 of 150
        guard = OutlierGuard.fit(reference, reference[:0], settings)
        crossed.append(guard.is_strange(fresh).mean())

    assert np.mean(in_sample) > 0.2
    assert np.mean(crossed) < 0.07


Corruption = Callable[[Rows, np.random.Generator], Rows]
# Least share that must be seen at alpha = 1 %.
STRANGE_DIGITS: dict[str, tuple[Corruption, float]] = {
    "blank": (lambda rows, rng: np.zeros_like(rows), 1.0),
    "faint": (lambda rows, rng: rows / 10, 0.99),
    "noise": (lambda rows, rng: rng.uniform(0, 16, rows.shape).round(), 0.99),
    "inverted": (lambda rows, rng: 16 - rows, 0.99),
    "rotated": (
        lambda rows, rng: np.rot90(rows.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64),
        0.95,
    ),
    "shifted": (lambda rows, rng: np.roll(rows.reshape(-1, 8, 8), 2, 2).reshape(-1, 64), 0.85),
    "shuffled": (lambda rows, rng: rows[:, rng.permutation(64)], 0.95),
}


IMAGE = (slice(0, 64),)


@pytest.mark.parametrize("kind", STRANGE_DIGITS)
def test_digits_that_do_not_belong_are_seen(kind: str) -> None:
    corrupt, least = STRANGE_DIGITS[kind]
    rng = np.random.default_rng(0)
    rows = rng.permutation(load_digits().data)
    guard = OutlierGuard.fit(rows[:850], rows[850:1400], DEFAULT, tensors=IMAGE)

    assert flagged_share(guard, rows[1400:]) <= 0.01
    assert flagged_share(guard, corrupt(rows[1400:], rng)) >= least


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_blank_digit_is_strange_whichever_digits_the_guard_has_seen(seed: int) -> None:
    """It is close to everything and like nothing: rarely lit pixels must not drown it."""
    rows = np.random.default_rng(seed).permutation(load_digits().data)
    guard = OutlierGuard.fit(rows[:850], rows[850:1400], DEFAULT, tensors=IMAGE)
    verdict = guard.check(np.zeros((1, 64)))

    assert verdict.p_values is not None
    assert verdict.p_values[0] <= verdict.threshold
    assert verdict.reasons[0]


def test_a_table_without_column_names_is_judged_in_the_units_of_its_columns() -> None:
    """Its one tensor is no image: beside a column in thousands the others would be invisible."""
    rng = np.random.default_rng(0)
    rows = rng.permutation(load_breast_cancer().data)
    named = OutlierGuard.fit(rows[:200], rows[200:500], DEFAULT)
    nameless = OutlierGuard.fit(rows[:200], rows[200:500], DEFAULT, tensors=(slice(0, 30),))

    np.testing.assert_array_equal(
        nameless.check(rows[500:]).p_values, named.check(rows[500:]).p_values
    )


def test_measurements_that_do_not_belong_are_seen() -> None:
    rng = np.random.default_rng(0)
    rows = rng.permutation(load_breast_cancer().data)
    guard = OutlierGuard.fit(rows[:200], rows[200:500], DEFAULT)
    fresh = rows[500:]
    one_wrong = fresh.copy()
    one_wrong[np.arange(len(fresh)), rng.integers(0, 30, len(fresh))] *= 10

    assert flagged_share(guard, fresh) <= 0.03
    assert flagged_share(guard, fresh * 10) == 1
    assert flagged_share(guard, one_wrong) >= 0.7
