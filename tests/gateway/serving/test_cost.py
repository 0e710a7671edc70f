"""What batches cost, learnt from what they cost."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.serving.cost import WINDOW, BatchCost, CostProfile

batches = st.lists(st.tuples(st.integers(1, 4096), st.integers(1, 10**9)), min_size=1, max_size=300)


@given(batches=batches, rows=st.integers(1, 10**6))
def test_the_quickest_is_at_most_the_typical_and_that_at_most_the_estimate(
    batches: list[tuple[int, int]], rows: int
) -> None:
    profile = CostProfile()
    for batch_rows, took_ns in batches:
        profile.observe(batch_rows, took_ns)

    assert 0 < profile.quickest_ns(rows) <= profile.typical_ns(rows) <= profile.estimate_ns(rows)


def test_quantiles_are_those_of_the_latest_batches_of_that_size() -> None:
    profile, rng = CostProfile(), np.random.default_rng(0)
    for took_ns in rng.integers(1, 1000, size=500):
        profile.observe(16, int(took_ns))
    latest = rng.integers(10_000, 20_000, size=WINDOW).tolist()
    for took_ns in latest:
        profile.observe(16, took_ns)

    # Read anew every few batches, so the last few may not count yet.
    assert abs(np.median(latest) - profile.typical_ns(16)) < 1500
    assert np.quantile(latest, 0.85) <= profile.estimate_ns(16) <= max(latest)


def test_sizes_never_seen_are_reckoned_from_the_nearest_one_seen() -> None:
    profile = CostProfile()
    for _ in range(20):
        profile.observe(8, 1000)

    assert profile.estimate_ns(64) == 8000  # at most in proportion
    assert profile.estimate_ns(1) == 1000  # assumed no cheaper


def test_a_model_that_was_never_timed_costs_nothing_as_far_as_anybody_knows() -> None:
    assert CostProfile().estimate_ns(1) == 0


def test_a_profile_of_another_time_is_forgotten_by_the_first_batch_that_proves_it_wrong() -> None:
    cost = BatchCost()
    for _ in range(WINDOW):
        cost.learn(1, guards_ns=None, model_ns=70, is_whole=True, left_ns=100)

    cost.learn(1, guards_ns=None, model_ns=2, is_whole=True, left_ns=50)  # tried all the same

    assert cost.typical_ns(1) == 2


def test_a_quick_batch_that_nobody_doubted_is_one_of_many() -> None:
    cost = BatchCost()
    for _ in range(WINDOW):
        cost.learn(1, guards_ns=None, model_ns=70, is_whole=True, left_ns=100)

    cost.learn(1, guards_ns=None, model_ns=2, is_whole=True, left_ns=100)

    assert cost.typical_ns(1) == 70


def test_a_batch_that_the_model_never_saw_whole_does_not_make_it_cheap() -> None:
    cost = BatchCost()
    cost.learn(1, guards_ns=5, model_ns=70, is_whole=True, left_ns=100)

    for _ in range(WINDOW):
        cost.learn(1, guards_ns=5, model_ns=1, is_whole=False, left_ns=100)
    assert cost.model.quickest_ns(1) == 70
    cost.learn(1, guards_ns=5, model_ns=700, is_whole=False, left_ns=1000)

    assert cost.model.estimate_ns(1) == 700
