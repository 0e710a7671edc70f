"""The alarm sounds for a loop, and rarely without one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.quality.loop.alarm import (
    judge_calibration,
    judge_loop,
    judge_newcomers,
)
from guards.quality.loop.calibration import Excess, loop_gap
from guards.quality.loop.settings import LoopSettings
from guards.quality.loop.sources import LabelSources

SETTINGS = LoopSettings()


def test_starved_newcomers_are_told_after_a_handful() -> None:
    assert judge_newcomers(0, 3, SETTINGS) is None
    assert judge_newcomers(0, 0, SETTINGS) is None
    finding = judge_newcomers(0, 12, SETTINGS)
    assert finding is not None
    assert "0 of 12 new items got 10 impressions within 5 windows" in finding


def test_the_newcomer_alarm_is_rarely_false_over_all_windows_together() -> None:
    """Exactly the promised share gets its chance; two newcomers per window, 100 windows."""
    rng = np.random.default_rng(1)
    runs = 400
    reached = (rng.uniform(size=(runs, 100, 2)) < SETTINGS.share).sum(axis=2).cumsum(axis=1)
    false = sum(
        any(judge_newcomers(int(k), 2 * (w + 1), SETTINGS) for w, k in enumerate(run))
        for run in reached
    )

    allowed = SETTINGS.alpha / 2
    assert false / runs <= allowed + 3 * np.sqrt(allowed / runs)


def window(rng: np.random.Generator, *, overrated: float) -> tuple[Excess, Excess, float]:
    """Chosen traffic that the model overrates, beside a uniform bucket that it does not."""
    chosen, uniform = rng.uniform(0.1, 0.3, 3000), rng.uniform(0.02, 0.2, 150)
    clicks = (rng.uniform(size=3000) < chosen * (1 - overrated)) * 1.0
    drawn = (rng.uniform(size=150) < uniform) * 1.0
    return Excess.of(chosen, clicks), Excess.of(uniform, drawn), float(clicks.mean())


def test_overrating_what_was_chosen_is_told_within_ten_windows() -> None:
    told = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        told += any(
            judge_calibration(*window(rng, overrated=0.6), SETTINGS, windows=w)
            for w in range(1, 11)
        )

    assert told == 20


def test_the_calibration_alarm_is_rarely_false_over_all_windows_together() -> None:
    """No gap at all, and nothing tolerated."""
    strict = LoopSettings(tolerated_gap=0)
    runs, false = 300, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        false += any(
            judge_calibration(*window(rng, overrated=0), strict, windows=w) for w in range(1, 31)
        )

    allowed = strict.alpha / 2
    assert false / runs <= allowed + 3 * np.sqrt(allowed / runs)


def test_no_bucket_is_no_finding() -> None:
    chosen = Excess.of(np.ones(100), np.zeros(100))

    assert judge_calibration(chosen, Excess(), 0.1, SETTINGS, windows=1) is None
    assert not judge_loop(None, None).alarm
    assert judge_loop(None, "starved") == judge_loop("starved")


@given(st.lists(st.floats(-100, 100), max_size=20), st.lists(st.floats(-100, 100), max_size=20))
def test_excesses_of_parts_merge_to_that_of_the_whole(a: list[float], b: list[float]) -> None:
    parts = [Excess.of(np.array(part), np.zeros(len(part))) for part in (a, b)]
    whole = Excess.of(np.array(a + b), np.zeros(len(a + b)))
    merged = parts[0].merge(parts[1])

    assert merged.rows == whole.rows
    assert merged.mean == pytest.approx(whole.mean, abs=1e-9)
    assert merged.squares == pytest.approx(whole.squares, abs=1e-6)


def test_the_gap_is_the_difference_of_both_excesses() -> None:
    chosen = Excess.of(np.full(100, 0.5), np.tile([0.0, 1.0], 50) * 0.8)
    uniform = Excess.of(np.full(100, 0.2), np.tile([0.0, 1.0], 50) * 0.4)
    gap, interval = loop_gap(chosen, uniform)

    assert gap == pytest.approx(0.1)
    assert interval.low < 0.1 < interval.high


def test_labels_are_told_apart_by_how_they_came_about() -> None:
    p = np.array([1.0, 0.5, 0.5, 0.1])
    sources = LabelSources.of(p, np.array([False, False, True, True]))
    twice = sources.merge(sources)

    assert (sources.greedy, sources.randomised, sources.explored) == (1, 1, 2)
    assert sources.explored_share == twice.explored_share == 0.5
    assert sources.effective_rows == pytest.approx(15**2 / (1 + 4 + 4 + 100))
    assert twice.effective_rows == pytest.approx(2 * sources.effective_rows)
    assert np.isnan(LabelSources().explored_share)
    assert LabelSources().effective_rows == 0
