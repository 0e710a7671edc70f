"""Bounds fail as rarely as they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from guards.drift.bounds import rank_bounds, share_bounds, widen

DRAWS, N = 4000, 200


@pytest.mark.parametrize("rank", [1, 10, 100, 200])
def test_the_share_below_an_order_statistic_leaves_its_bounds_with_probability_delta(
    rank: int,
) -> None:
    below = np.sort(np.random.default_rng(rank).random((DRAWS, N)), axis=1)[:, rank - 1]

    low, high = rank_bounds(np.array([rank]), N, 0.05)

    error = 4 * np.sqrt(0.05 * 0.95 / DRAWS)
    assert abs((below < low).mean() - 0.05) < error
    assert abs((below > high).mean() - 0.05) < error


@given(st.integers(0, 50), st.integers(1, 50), st.floats(0.001, 0.2))
def test_the_share_of_an_event_is_bounded_as_clopper_and_pearson_do(
    hits: int, n: int, delta: float
) -> None:
    hits = min(hits, n)
    interval = binomtest(hits, n).proportion_ci(1 - 2 * delta, method="exact")

    low, high = share_bounds(np.array([hits]), n, delta)

    assert low[0] == pytest.approx(interval.low, abs=1e-9)
    assert high[0] == pytest.approx(interval.high, abs=1e-9)


def test_slack_moves_both_bounds_outward_and_never_out_of_the_unit_interval() -> None:
    low, high = widen(np.array([0.01, 0.5]), np.array([0.6, 0.99]), 0.02)

    np.testing.assert_allclose(low, [0, 0.48])
    np.testing.assert_allclose(high, [0.62, 1])
