"""An expectation holds, is violated, or is unknown, and says why."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.quality.expectation import State, judge_at_least, judge_at_most

ALPHA = 0.05


@pytest.mark.parametrize(
    ("successes", "n", "state", "reason"),
    [
        (0, 0, State.UNKNOWN, "no labels yet: 0 of 1,204"),
        (389, 397, State.UNKNOWN, "0.980 of 397 labels; interval 0.944-0.996 includes 0.97"),
        (
            9900,
            10_000,
            State.HOLDS,
            "0.990 of 10,000 labels; interval 0.986-0.993 is above 0.97",
        ),
        (
            900,
            1000,
            State.VIOLATED,
            "0.900 of 1,000 labels; interval 0.862-0.931 is below 0.97",
        ),
    ],
)
def test_the_state_comes_with_the_sentence_that_justifies_it(
    successes: int, n: int, state: State, reason: str
) -> None:
    judgement = judge_at_least(0.97, successes, n, alpha=ALPHA, total=1204)

    assert (judgement.state, judgement.reason) == (state, reason)


def test_without_a_total_nothing_is_said_of_it() -> None:
    assert judge_at_most(0.01, 0, 0, alpha=ALPHA).reason == "no requests yet"


@pytest.mark.parametrize(
    ("late", "state"), [(0, State.HOLDS), (100, State.UNKNOWN), (200, State.VIOLATED)]
)
def test_a_share_that_must_stay_small_is_judged_from_the_other_side(
    late: int, state: State
) -> None:
    assert judge_at_most(0.01, late, 10_000, alpha=ALPHA).state is state


@given(
    seen=st.integers(0, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    target=st.floats(0.01, 0.99),
)
def test_at_least_a_share_is_at_most_the_rest(seen: tuple[int, int], target: float) -> None:
    successes, n = seen
    here = judge_at_least(target, successes, n, alpha=ALPHA)
    there = judge_at_most(1 - target, n - successes, n, alpha=ALPHA)

    if min(abs(here.low - target), abs(here.high - target)) > 1e-9:
        assert here.state is there.state


def test_an_expectation_that_just_holds_is_rarely_called_violated_at_any_look() -> None:
    streams, length, target = 400, 500, 0.9
    rng = np.random.default_rng(3)
    wrong = 0
    for stream in (rng.uniform(size=(streams, length)) < target).cumsum(axis=1):
        looks = range(10, length, 10)
        wrong += any(
            judge_at_least(target, int(stream[n - 1]), n, alpha=ALPHA).state is State.VIOLATED
            for n in looks
        )

    assert wrong / streams <= ALPHA + np.sqrt(ALPHA * (1 - ALPHA) / streams)


def test_a_state_is_written_as_its_word() -> None:
    assert [str(state) for state in State] == ["holds", "violated", "unknown"]
