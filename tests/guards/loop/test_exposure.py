"""Exposure counts add up in any order, and their measures have their known extremes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.quality.loop.exposure import (
    Exposure,
    by_popularity,
    coverage,
    effective_items,
    found,
    gini,
    popularity_lift,
)

ids = st.lists(st.integers(-5, 5), max_size=30)
logs = st.tuples(ids, ids, st.integers(0, 2**32 - 1))


def exposure(log: tuple[list[int], list[int], int]) -> Exposure:
    eligible, shown, seed = log
    hit = np.random.default_rng(seed).uniform(size=len(shown)) < 0.5
    return Exposure.count(np.array(eligible, np.int64), np.array(shown, np.int64), hit)


def of(*impressions: int) -> Exposure:
    counts = np.array(impressions)
    return Exposure(np.arange(len(counts)), counts, counts // 2)


@given(logs, logs, logs)
def test_parts_merge_to_the_same_whole_in_any_order(a: tuple, b: tuple, c: tuple) -> None:
    x, y, z = exposure(a), exposure(b), exposure(c)

    for one, other in ((x.merge(y), y.merge(x)), (x.merge(y).merge(z), x.merge(y.merge(z)))):
        np.testing.assert_array_equal(one.items, other.items)
        np.testing.assert_array_equal(one.impressions, other.impressions)
        np.testing.assert_array_equal(one.hits, other.hits)
    assert x.merge(y).impressions.sum() == len(a[1]) + len(b[1])


@given(logs)
def test_measures_stay_in_their_ranges(log: tuple) -> None:
    seen = exposure(log)
    if not len(seen.items):
        assert np.isnan(coverage(seen, least=1))
    elif seen.impressions.sum():
        assert 0 <= coverage(seen, least=2) <= coverage(seen, least=1) <= 1
        assert -1e-9 <= gini(seen) < 1
        assert 1 - 1e-9 <= effective_items(seen) <= len(seen.items) + 1e-9
        assert popularity_lift(seen, seen) == pytest.approx(0)
    else:
        assert np.isnan([gini(seen), effective_items(seen), popularity_lift(seen, seen)]).all()


def test_equal_shares_and_a_single_item_are_the_extremes() -> None:
    assert (gini(of(7, 7, 7, 7)), effective_items(of(7, 7, 7, 7))) == pytest.approx((0, 4))
    assert (gini(of(0, 0, 0, 9)), effective_items(of(0, 0, 0, 9))) == pytest.approx((0.75, 1))
    assert coverage(of(0, 4, 5, 6), least=5) == 0.5


def test_serving_the_head_more_than_the_history_did_is_a_lift() -> None:
    history = of(90, 10, 0)

    assert popularity_lift(of(100, 0, 0), history) == pytest.approx(0.9 / 0.82 - 1)
    assert popularity_lift(of(0, 0, 10), history) == -1  # only what nobody had seen


def test_buckets_split_what_was_served_by_powers_of_popularity() -> None:
    history = Exposure(np.arange(4), np.array([0, 5, 50, 99]), np.zeros(4, np.int64))
    served = Exposure(np.arange(5), np.array([10, 20, 30, 50, 4]), np.array([1, 2, 6, 10, 0]))
    unseen, some, head = by_popularity(served, history)

    assert (unseen.least, unseen.items, unseen.impressions) == (0, 2, 14)
    assert (some.least, some.hit_rate) == (1, 0.1)
    assert (head.least, head.items, head.hit_rate) == (10, 2, 0.2)


def test_a_good_new_item_is_found_once_it_is_shown_often_enough() -> None:
    seen = of(9, 10, 11)

    assert found(np.array([1, 2]), seen, least=10) == 1
    assert found(np.array([0, 77]), seen, least=9) == 0.5
    assert np.isnan(found(np.array([], np.int64), seen, least=9))
