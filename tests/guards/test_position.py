"""Examination of positions, recovered from randomised neighbours."""

import numpy as np

from guards.quality.position import PositionCounts, examination, examination_error

THETA = np.arange(1, 8) ** -0.7


def lists(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ranks by position after swaps of disjoint neighbours, and clicks; best items first."""
    rng = np.random.default_rng(seed)
    k = len(THETA)
    appeal = -np.sort(-rng.beta(2, 2, (n, k)), axis=1)
    ranks = np.tile(np.arange(k), (n, 1))
    offset = rng.integers(0, 2, n)
    for first in range(k - 1):
        swap = (offset == first % 2) & (rng.uniform(size=n) < 0.5)
        ranks[swap, first : first + 2] = ranks[swap, first : first + 2][:, ::-1]
    clicks = rng.uniform(size=(n, k)) < THETA * np.take_along_axis(appeal, ranks, axis=1)
    return ranks, clicks


def test_the_first_five_positions_are_found_within_five_percent() -> None:
    estimate = examination(PositionCounts.count(*lists(50_000, 1)))

    np.testing.assert_allclose(estimate[:5], THETA[:5], rtol=0.05)


def test_click_rates_alone_would_mislead() -> None:
    """The model puts the best items first, which looks like position bias."""
    _, clicks = lists(50_000, 1)
    rates = clicks.mean(axis=0)

    assert (rates / rates[0])[4] < 0.7 * THETA[4]


def test_the_error_is_that_of_repeated_experiments() -> None:
    ranks, clicks = lists(5_000, 1)
    parts = [
        PositionCounts.count(r, c)
        for r, c in zip(np.array_split(ranks, 20), np.array_split(clicks, 20), strict=True)
    ]
    repeated = [examination(PositionCounts.count(*lists(5_000, seed))) for seed in range(100)]

    ratio = examination_error(parts)[1:] / np.std(repeated, axis=0)[1:]
    assert ((ratio > 0.5) & (ratio < 2)).all(), ratio


def test_parts_merge_to_the_whole() -> None:
    ranks, clicks = lists(300, 2)
    whole = PositionCounts.count(ranks, clicks)
    merged = PositionCounts.count(ranks[:100], clicks[:100]).merge(
        PositionCounts.count(ranks[100:], clicks[100:])
    )

    np.testing.assert_array_equal(whole.shown, merged.shown)
    np.testing.assert_array_equal(whole.clicked, merged.clicked)


def test_positions_that_no_swap_connects_are_unknown() -> None:
    ranks, clicks = lists(2_000, 3)
    apart = (ranks[:, 3:] >= 3).all(axis=1)  # nobody crossed from the third to the fourth
    estimate = examination(PositionCounts.count(ranks[apart], clicks[apart]))

    assert np.isfinite(estimate[:3]).all()
    assert np.isnan(estimate[3:]).all()
    empty = PositionCounts(np.zeros((3, 3), np.int64), np.zeros((3, 3), np.int64))
    assert np.isnan(examination(empty)).all()
