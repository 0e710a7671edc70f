"""What makes monitors of drift lie or fall silent, each once."""

import numpy as np
import pytest

from guards.drift.bets import Bets
from guards.drift.cells import CELLS, count
from guards.drift.eprocess import mixture
from guards.drift.monitor import DriftSettings, Finding, Monitor
from guards.drift.reference import Channel, Reference

SETTINGS = DriftSettings(run_length_ticks=1e5)


def _finding(reference: Reference, rows: np.ndarray, *, tick_rows: int = 20) -> Finding:
    monitor, codes = Monitor(reference, SETTINGS), reference.layout.codes(rows)
    state = monitor.begin()
    for start in range(0, len(rows), tick_rows):
        state = monitor.advance(state, count(codes[start : start + tick_rows]))
    return monitor.finding(state)


@pytest.mark.parametrize("n", [10, 30, 200])
def test_a_small_reference_does_not_blind_the_monitor_to_an_outage(n: int) -> None:
    """Trap: a threshold that can never be reached guards nothing, in silence."""
    rng = np.random.default_rng(0)
    reference = Reference.fit([Channel("x", rng.normal(size=n))])

    quiet = _finding(reference, rng.normal(size=(2000, 1)))
    gone = _finding(reference, np.full((400, 1), np.nan))

    assert not quiet.alarm
    assert gone.alarm
    assert gone.channels[0].how == "more missing"


def test_a_reference_that_is_taken_for_the_truth_cries_wolf() -> None:
    """Trap: a finite reference, looked at again and again; `Bets` bounds what it can mean."""
    rng = np.random.default_rng(1)
    alarms = {"bounds": 0, "medians": 0}
    for _ in range(30):
        reference = Reference.fit([Channel("x", rng.normal(size=200))])
        codes = reference.layout.codes(rng.normal(size=(4000, 1)))
        counts = np.stack([count(codes[start : start + 20]) for start in range(0, 4000, 20)])
        for name, delta in (("bounds", 0.05), ("medians", CELLS * 2 * 0.5)):
            bets = Bets.on(reference, delta=delta)
            log_e = mixture(bets.log_stakes, bets.gains(counts.cumsum(axis=0)))
            alarms[name] += bool(log_e.max() >= np.log(1 / 0.05))

    assert alarms["bounds"] <= 30 * 0.1 + 3 * np.sqrt(30 * 0.1 * 0.9)
    assert alarms["medians"] > 15


def test_a_slow_drift_is_not_absorbed() -> None:
    """Trap: who learns from unaudited traffic never sees what creeps."""
    rng = np.random.default_rng(2)
    reference = Reference.fit([Channel("x", rng.normal(size=5000))])
    creeping = rng.normal(size=20_000) + np.linspace(0, 0.5, 20_000)

    finding = _finding(reference, creeping[:, None])

    assert finding.alarm
    assert finding.channels[0].how == "higher"


def test_a_constant_column_is_quiet_until_it_is_no_longer_constant() -> None:
    """Trap: a standard deviation of 0."""
    reference = Reference.fit([Channel("x", np.full(500, 3.0))])

    assert not _finding(reference, np.full((4000, 1), 3.0)).alarm
    assert _finding(reference, np.full((200, 1), 4.0)).alarm
    assert _finding(reference, np.full((200, 1), 2.0)).alarm


def test_a_large_offset_costs_no_digits() -> None:
    """Trap: float32 of values far from 0; edges lie between neighbouring float32."""
    rng = np.random.default_rng(3)
    draw = lambda n: (1e6 + rng.normal(size=(n, 1))).astype(np.float32)  # noqa: E731
    reference = Reference.fit([Channel("x", draw(5000)[:, 0])])
    rows = draw(8000)

    assert not _finding(reference, rows).alarm
    np.testing.assert_array_equal(
        reference.layout.codes(rows), reference.layout.codes(rows.astype(np.float64))
    )
    assert _finding(reference, rows[:2000] + np.float32(1)).alarm


def test_columns_that_repeat_each_other_count_as_one() -> None:
    """Trap: alarms that assume independent features; a mean of wealth needs no such thing."""
    rng = np.random.default_rng(4)
    alarms = 0
    for _ in range(10):
        column = rng.normal(size=500)
        reference = Reference.fit([Channel(f"x{i}", column) for i in range(8)])
        rows = np.repeat(rng.normal(size=(4000, 1)), 8, axis=1)
        alarms += _finding(reference, rows).alarm

    assert alarms <= 2  # delta is 0.05: P(more than 2 of 10) = 0.01
