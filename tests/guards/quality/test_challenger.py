"""A contest may be watched all day: it names a winner by mistake as rarely as it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.quality.challenger import Contest, Winner, advance, merge

LOOKS = 40


def contest(differences: np.ndarray, **settings: float) -> Contest:
    return advance(Contest.begin(), differences, **settings)


def losses(n: int, rng: np.random.Generator, *, champion: float, challenger: float) -> np.ndarray:
    return (rng.random(n) < champion).astype(float) - (rng.random(n) < challenger)


def won_at(differences: np.ndarray, winner: Winner, *, alpha: float, every: int) -> int | None:
    state = Contest.begin()
    for start in range(0, len(differences), every):
        state = advance(state, differences[start : start + every])
        if state.winner(alpha=alpha) is winner:
            return start + every
    return None


def test_equals_are_rarely_told_apart_however_often_one_looks() -> None:
    rng, alpha, runs = np.random.default_rng(0), 0.1, 400
    wrong = 0
    for _ in range(runs):
        state = Contest.begin()
        rows = losses(4000, rng, champion=0.2, challenger=0.2)
        for part in np.split(rows, LOOKS):
            state = advance(state, part)
            if state.winner(alpha=alpha) is not Winner.UNDECIDED:
                wrong += 1
                break

    assert wrong <= alpha * runs + 2 * np.sqrt(runs * alpha * (1 - alpha))


def test_a_better_challenger_wins_and_a_worse_one_loses() -> None:
    rng = np.random.default_rng(1)
    better = losses(5000, rng, champion=0.2, challenger=0.1)

    assert contest(better).winner(alpha=0.05) is Winner.CHALLENGER
    assert contest(-better).winner(alpha=0.05) is Winner.CHAMPION


def test_a_challenger_that_is_better_by_less_than_the_margin_does_not_win() -> None:
    rng = np.random.default_rng(2)
    rows = losses(20_000, rng, champion=0.2, challenger=0.15)

    assert contest(rows).winner(alpha=0.05) is Winner.CHALLENGER
    assert contest(rows, margin=0.1).winner(alpha=0.05) is Winner.UNDECIDED


@given(
    st.lists(st.floats(-1, 1), max_size=60),
    st.integers(0, 60),
    st.randoms(use_true_random=False),
)
def test_order_and_shards_do_not_change_the_evidence(
    differences: list[float], cut: int, random: object
) -> None:
    rows = np.array(differences)
    shuffled = rows.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    whole, parts = contest(rows), merge(contest(shuffled[:cut]), contest(shuffled[cut:]))

    assert parts.rows == whole.rows
    np.testing.assert_allclose(parts.better, whole.better, atol=1e-9)
    np.testing.assert_allclose(parts.worse, whole.worse, atol=1e-9)


@pytest.mark.parametrize("bad", [1.5, float("nan")])
def test_losses_out_of_range_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="within"):
        contest(np.array([bad]))


def test_a_margin_that_is_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="margin"):
        contest(np.zeros(3), margin=1.0)


def test_nothing_seen_is_undecided() -> None:
    assert Contest.begin().winner(alpha=0.05) is Winner.UNDECIDED
    assert won_at(np.zeros(100), Winner.CHALLENGER, alpha=0.05, every=10) is None
