"""Newcomers are those that entered after the first window, judged when their time is over."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from guards.quality.loop.exposure import Exposure
from guards.quality.loop.newcomers import Catalogue


def _window(shown: dict[int, int]) -> Exposure:
    items = np.array(sorted(shown), np.int64)
    impressions = np.array([shown[item] for item in sorted(shown)], np.int64)
    return Exposure(items, impressions, impressions // 2)


def _after(*windows: dict[int, int], patience: int = 2) -> Catalogue:
    catalogue = Catalogue.empty()
    for shown in windows:
        catalogue = catalogue.observe(_window(shown), patience=patience)
    return catalogue


def test_what_was_there_from_the_start_is_no_newcomer() -> None:
    items, _ = _after({1: 5}, {1: 5}, {1: 5}).newcomers(patience=2)

    assert items.tolist() == []


def test_a_newcomer_counts_once_its_windows_are_over_and_only_what_it_got_in_them() -> None:
    early = _after({1: 5}, {1: 5, 2: 3})
    ripe = _after({1: 5}, {1: 5, 2: 3}, {1: 5, 2: 4}, {1: 5, 2: 100})

    assert early.newcomers(patience=2)[0].tolist() == []
    assert [column.tolist() for column in ripe.newcomers(patience=2)] == [[2], [7]]


def test_an_item_that_leaves_and_comes_back_is_not_new_again() -> None:
    catalogue = _after({1: 1, 2: 1}, {1: 1}, {1: 1, 2: 9}, {1: 1, 2: 9})

    assert catalogue.newcomers(patience=2)[0].tolist() == []


@given(
    st.lists(st.dictionaries(st.integers(0, 9), st.integers(0, 5)), min_size=1, max_size=6),
    st.integers(1, 4),
)
def test_the_history_is_the_sum_of_the_windows(
    windows: list[dict[int, int]], patience: int
) -> None:
    catalogue = _after(*windows, patience=patience)

    for item in catalogue.items.tolist():
        at = int(np.searchsorted(catalogue.items, item))
        assert catalogue.impressions[at] == sum(shown.get(item, 0) for shown in windows)
        first = next(n for n, shown in enumerate(windows, start=1) if item in shown)
        assert catalogue.first[at] == first
        mine = windows[first - 1 : first - 1 + patience]
        assert catalogue.early[at] == sum(shown.get(item, 0) for shown in mine)
    assert set(catalogue.items.tolist()) == {item for shown in windows for item in shown}
