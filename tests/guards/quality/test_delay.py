"""Labels that come late: how long they take, and what is missing of them, are estimated right."""

import numpy as np
import pytest

from guards.quality.delay import Arrivals, adjust_for_delay, fit_arrivals


def test_the_delays_of_young_rows_do_not_shorten_the_estimate() -> None:
    rng = np.random.default_rng(0)
    ages = rng.uniform(0, 30, 20_000)
    delays = rng.exponential(10, 20_000)
    here = delays <= ages

    arrivals = fit_arrivals(delays[here], ages[here])

    known = 1 - np.exp(-30 / 10)  # what takes longer than the oldest row was never seen
    for age in (3.0, 10.0, 20.0):
        expected = (1 - np.exp(-age / 10)) / known
        assert arrivals.within(np.array([age]))[0] == pytest.approx(expected, abs=0.03)
    naive = np.mean(delays[here] <= 3.0)
    assert naive > (1 - np.exp(-0.3)) / known + 0.05


def test_shares_never_fall_and_end_at_one() -> None:
    rng = np.random.default_rng(1)
    ages = rng.uniform(0, 5, 300)
    delays = ages * rng.random(300)
    arrivals = fit_arrivals(delays, ages)

    shares = arrivals.within(np.linspace(-1, 6, 200))
    assert np.all(np.diff(shares) >= 0)
    assert (shares[0], shares[-1]) == (0, 1)


@pytest.mark.parametrize("delays", [[], [3.0]])
def test_delays_that_cannot_be_are_refused(delays: list[float]) -> None:
    with pytest.raises(ValueError, match="label"):
        fit_arrivals(np.array(delays), np.full(len(delays), 2.0))


@pytest.mark.parametrize("true_share", [0.02, 0.1, 0.3])
def test_wrong_answers_whose_labels_come_late_are_not_forgotten(true_share: float) -> None:
    """Of errors one hears after ten days, of right answers at once."""
    rng = np.random.default_rng(2)
    n = 30_000
    wrong, ages = rng.random(n) < true_share, rng.uniform(0, 10, n)
    delays = np.where(wrong, rng.exponential(10, n), rng.exponential(0.5, n))
    slow, fast = (
        Arrivals(np.linspace(0, 60, 600), 1 - np.exp(-np.linspace(0, 60, 600) / mean))
        for mean in (10, 0.5)
    )

    found = adjust_for_delay(
        np.full(n, 0.05), wrong, delays <= ages, ages, late_wrong=slow, late_right=fast
    )

    assert found.labels_to_date < 0.75 * true_share
    assert found.adjusted == pytest.approx(true_share, rel=0.15)


def test_without_any_label_the_expectation_is_kept() -> None:
    never = Arrivals(np.array([100.0]), np.array([1.0]))
    rows = np.full(50, 0.1)

    found = adjust_for_delay(
        rows,
        np.zeros(50, np.bool_),
        np.zeros(50, np.bool_),
        np.ones(50),
        late_wrong=never,
        late_right=never,
    )

    assert np.isnan(found.labels_to_date)
    assert found.adjusted == pytest.approx(0.1, abs=0.01)
