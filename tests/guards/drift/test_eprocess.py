"""Evidence is what it says: run lengths, dominance, false discoveries."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from guards.drift.eprocess import Wealth, e_bh

gains = st.lists(st.floats(-3, 3), min_size=1, max_size=60)


def _detector(gains: list[float], ceiling: float = 1e9) -> list[Wealth]:
    stake = np.zeros(1)
    wealth, seen = Wealth.begin((1,)), []
    for gain in gains:
        wealth = wealth.grow(np.array([gain])).capped(stake, np.array(ceiling))
        seen.append(wealth)
    return seen


@given(gains)
def test_the_detector_is_never_below_the_e_cusum(gains: list[float]) -> None:
    cusum = 0.0
    for gain, wealth in zip(gains, _detector(gains), strict=True):
        cusum = max(cusum, 0.0) + gain
        assert wealth.log_detector[0] >= cusum - 1e-9


@given(gains)
def test_the_process_multiplies_and_the_detector_adds_every_start(gains: list[float]) -> None:
    last = _detector(gains)[-1]

    starts = [sum(gains[begin:]) for begin in range(len(gains))]
    np.testing.assert_allclose(last.log_process[0], sum(gains), atol=1e-9)
    np.testing.assert_allclose(last.log_detector[0], np.logaddexp.reduce(starts), atol=1e-9)
    ticks = np.arange(1, len(gains) + 1)
    mean = (ticks * np.exp(starts)).sum() / np.exp(starts).sum()
    np.testing.assert_allclose(last.started()[0], mean, rtol=1e-9)


@given(gains, st.floats(0, 5))
def test_a_ceiling_only_takes_away(gains: list[float], ceiling: float) -> None:
    for capped, free in zip(_detector(gains, ceiling), _detector(gains), strict=True):
        assert capped.log_detector[0] <= min(free.log_detector[0], ceiling) + 1e-9


def test_false_alarms_are_as_far_apart_as_stated() -> None:
    """Exactly fair bets on coins; 400 streams wait for R to reach 200."""
    rng = np.random.default_rng(0)
    threshold, streams = np.log(200), 400
    up, down = np.log(1.3), np.log(0.7)
    wealth, run = Wealth.begin((streams,)), np.full(streams, np.inf)
    for tick in range(1, 4000):
        wealth = wealth.grow(np.where(rng.random(streams) < 0.5, up, down))
        run[(wealth.log_detector >= threshold) & np.isinf(run)] = tick
    found = np.minimum(run, 4000)

    assert found.mean() + 4 * found.std() / np.sqrt(streams) >= 200
    assert (run <= 20).mean() <= 20 / 200 + 4 * np.sqrt(0.1 * 0.9 / streams)


def test_e_bh_names_what_is_large_enough_among_so_many() -> None:
    log_e = np.log([1000, 3, 50, 0.5])

    # 4 / (0.1 k): 40 for the first, 20 for the second, 13.3 for the third.
    assert e_bh(log_e, alpha=0.1).tolist() == [True, False, True, False]
    assert not e_bh(np.log([39.0, 1, 1, 1]), alpha=0.1).any()
