"""The threshold keeps its promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from guards.errors import CalibrationTooSmallError
from guards.outlier.conformal import Calibration, needed, pac_rank
from guards.verdict import Mode

ALPHA, DELTA = 0.01, 0.05


@pytest.mark.parametrize(
    ("n", "alpha", "delta", "rank"),
    [
        (300, 0.05, 0.05, 9),
        (1000, 0.05, 0.05, 39),
        (10_000, 0.05, 0.05, 464),
        (300, 0.01, 0.05, 1),
        (1000, 0.01, 0.05, 5),
        (5000, 0.01, 0.05, 39),
        (300, 0.01, 0.01, 0),
        (1000, 0.01, 0.01, 3),
        (2000, 0.001, 0.05, 0),
        (5000, 0.001, 0.05, 2),
    ],
)
def test_the_rank_is_that_of_the_published_table(
    n: int, alpha: float, delta: float, rank: int
) -> None:
    assert pac_rank(n, alpha, delta) == rank


@given(
    n=st.integers(1, 5000),
    alpha=st.floats(0.001, 0.5),
    delta=st.floats(0.001, 0.5),
)
def test_the_rank_is_the_largest_that_keeps_the_promise(n: int, alpha: float, delta: float) -> None:
    rank = pac_rank(n, alpha, delta)

    slack = 1e-9  # the Beta and the binomial tail are computed by different series
    if rank > 0:
        assert beta.sf(alpha, rank, n + 1 - rank) <= delta + slack
    if rank < n:
        assert beta.sf(alpha, rank + 1, n - rank) > delta - slack


@given(alpha=st.floats(0.0005, 0.5), delta=st.floats(0.001, 0.5))
def test_as_many_rows_as_needed_are_enough_and_one_less_is_not(alpha: float, delta: float) -> None:
    n = needed(alpha, delta)

    assert pac_rank(n, alpha, delta) >= 1
    assert n == 1 or pac_rank(n - 1, alpha, delta) == 0


def test_too_few_rows_are_refused_rather_than_never_firing() -> None:
    with pytest.raises(CalibrationTooSmallError, match="at least 299 held-out rows, got 298"):
        Calibration.of(np.arange(298.0), alpha=ALPHA, delta=DELTA, guard="outlier")

    assert Calibration.of(np.arange(299.0), alpha=ALPHA, delta=DELTA, guard="outlier").rank == 1


scores = st.lists(st.integers(-4, 4).map(float), min_size=60, max_size=90)


@given(calibration=scores, fresh=scores)
def test_strange_by_p_value_is_strange_by_score_whatever_the_ties(
    calibration: list[float], fresh: list[float]
) -> None:
    fitted = Calibration.of(np.array(calibration), alpha=0.1, delta=0.2, guard="outlier")
    rank_th_largest = sorted(calibration, reverse=True)[fitted.rank - 1]

    by_p = fitted.p_values(np.array(fresh)) <= fitted.threshold

    np.testing.assert_array_equal(by_p, np.array(fresh) > rank_th_largest)


@given(calibration=scores)
def test_tied_calibration_scores_never_flag_more_than_the_rank_allows(
    calibration: list[float],
) -> None:
    fitted = Calibration.of(np.array(calibration), alpha=0.1, delta=0.2, guard="outlier")

    flagged = fitted.p_values(np.array(calibration)) <= fitted.threshold

    assert flagged.sum() < fitted.rank


def test_infinity_gets_the_smallest_p_value_there_is() -> None:
    fitted = Calibration.of(np.arange(299.0), alpha=ALPHA, delta=DELTA, guard="outlier")

    assert fitted.p_values(np.array([np.inf])) == [1 / 300]
    assert fitted.p_values(np.array([-np.inf])) == [1.0]


def test_at_most_delta_of_calibration_draws_exceed_alpha() -> None:
    """Uniform scores, so the true false-alarm rate of a threshold t is exactly 1 - t."""
    rng = np.random.default_rng(2023)
    draws = 200
    rates = []
    for _ in range(draws):
        calibration = rng.uniform(size=1000)
        fitted = Calibration.of(calibration, alpha=ALPHA, delta=DELTA, guard="outlier")
        rates.append(1 - fitted.scores[-fitted.rank])

    standard_error = np.sqrt(DELTA * (1 - DELTA) / draws)
    assert np.mean(np.array(rates) > ALPHA) <= DELTA + standard_error
    # Nor is it bought with a threshold that hardly ever fires: E[Beta(5, 996)] = 0.005.
    spread = np.sqrt(beta.var(5, 996) / draws)
    assert np.mean(rates) == pytest.approx(5 / 1001, abs=3 * spread)


def test_marginal_p_values_of_ordinary_rows_are_uniform_with_random_ties() -> None:
    """Scores 0 to 3 only: counted as stranger, ties would make p-values too large."""
    rng = np.random.default_rng(0)
    share = []
    for _ in range(400):
        scores = rng.integers(0, 4, 199).astype(float)
        fitted = Calibration.of(scores, alpha=0.1, delta=0.05, guard="outlier", mode="marginal")
        fresh = rng.integers(0, 4, 50).astype(float)
        p = fitted.p_values(fresh, draws=rng.uniform(size=50))
        share.append([np.mean(p <= level) for level in (0.05, 0.1, 0.5, 0.9)])

    np.testing.assert_allclose(np.mean(share, axis=0), [0.05, 0.1, 0.5, 0.9], atol=0.015)


@pytest.mark.parametrize(("mode", "promised"), [("marginal", 0.01), ("cross", 0.02)])
def test_the_other_modes_promise_what_they_can(mode: Mode, promised: float) -> None:
    fitted = Calibration.of(np.arange(99.0), alpha=0.01, delta=0.05, guard="outlier", mode=mode)

    assert fitted.rank == 1
    assert fitted.guarantee.alpha == promised
    assert fitted.guarantee.delta == 1
    assert fitted.guarantee.mode == mode
    assert "on average" in str(fitted.guarantee)
    with pytest.raises(CalibrationTooSmallError, match="at least 99 held-out rows, got 98"):
        Calibration.of(np.arange(98.0), alpha=0.01, delta=0.05, guard="outlier", mode=mode)


def test_marginal_thresholds_keep_alpha_on_average() -> None:
    rng = np.random.default_rng(1)
    rates = []
    for _ in range(2000):
        scores = rng.uniform(size=150)
        fitted = Calibration.of(scores, alpha=0.05, delta=0.05, guard="outlier", mode="marginal")
        rates.append(1 - fitted.scores[-fitted.rank])

    assert np.mean(rates) == pytest.approx(7 / 151, abs=3 * np.std(rates) / np.sqrt(2000))


@given(calibration=scores, fresh=scores)
def test_two_sided_is_strange_beyond_either_rank(
    calibration: list[float], fresh: list[float]
) -> None:
    fitted = Calibration.of(
        np.array(calibration), alpha=0.2, delta=0.4, guard="outlier", two_sided=True
    )
    ordered = sorted(calibration)
    low, high = ordered[fitted.rank - 1], ordered[-fitted.rank]

    values = np.array(fresh)
    strange = fitted.p_values(values) <= fitted.threshold
    np.testing.assert_array_equal(strange, (values < low) | (values > high))


def test_two_sided_keeps_the_promise_over_calibration_draws() -> None:
    rng = np.random.default_rng(5)
    rates = []
    for _ in range(300):
        scores = rng.uniform(size=1000)
        fitted = Calibration.of(scores, alpha=0.02, delta=0.05, guard="outlier", two_sided=True)
        rates.append(fitted.scores[fitted.rank - 1] + 1 - fitted.scores[-fitted.rank])

    assert np.mean(np.array(rates) > 0.02) <= 0.05 + np.sqrt(0.05 * 0.95 / 300)
