"""Measures of rankings that add up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.quality.ranked import hit_rate, ndcg, reciprocal_rank
from guards.quality.ranked_sums import RANKED, RankedSums


def drawn(n: int, rng: np.random.Generator) -> np.ndarray:
    return (rng.random((n, 3)) < [0.5, 0.3, 0.1]).astype(np.float64)


@given(st.integers(0, 60), st.integers(0, 2**32 - 1))
def test_parts_say_what_the_whole_says(cut: int, seed: int) -> None:
    relevance = drawn(60, np.random.default_rng(seed))

    parts = RankedSums.count("1", relevance[:cut]).merge(RankedSums.count("1", relevance[cut:]))

    whole = RankedSums.count("1", relevance)
    assert (parts.rankings, parts.relevant) == (whole.rankings, whole.relevant)
    for one, other in zip(parts.measured(alpha=0.05), whole.measured(alpha=0.05), strict=True):
        assert one.estimate == pytest.approx(other.estimate)


def test_each_measure_is_the_mean_of_its_rankings() -> None:
    relevance = drawn(300, np.random.default_rng(0))

    found = {m.metric: m for m in RankedSums.count("1", relevance).measured(alpha=0.05)}

    assert found["ndcg"].estimate == pytest.approx(np.nanmean(ndcg(relevance)))
    assert found["reciprocal_rank"].estimate == pytest.approx(reciprocal_rank(relevance).mean())
    assert found["hit_rate"].estimate == pytest.approx(hit_rate(relevance, within=3).mean())
    assert tuple(found) == RANKED
    assert found["ndcg"].n < found["hit_rate"].n == 300


def test_the_true_value_is_rarely_outside_at_any_of_many_looks() -> None:
    rng = np.random.default_rng(1)
    whole = RankedSums.count("1", drawn(400_000, rng)).measured(alpha=0.1)
    truth = {m.metric: m.estimate for m in whole}
    missed = dict.fromkeys(RANKED, 0)
    for _ in range(100):
        relevance = drawn(800, rng)
        wrong = {
            m.metric
            for n in (50, 100, 200, 400, 800)
            for m in RankedSums.count("1", relevance[:n]).measured(alpha=0.1)
            if not m.low <= truth[m.metric] <= m.high
        }
        for name in wrong:
            missed[name] += 1

    assert max(missed.values()) <= 0.1 * 100 + 3 * np.sqrt(100 * 0.09)


def test_another_version_begins_anew_and_nothing_has_no_measure() -> None:
    old = RankedSums.count("1", np.ones((5, 3)))

    assert old.merge(RankedSums("2")) == RankedSums("2")
    assert RankedSums("2").measured(alpha=0.05) == []
    rounded = RankedSums("2", 3, 3, 3.0000000000000004, 3.0, 3.0)
    assert rounded.measured(alpha=0.05)[0].estimate == 1.0
