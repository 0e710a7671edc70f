"""Drift is found, named and dated; its absence is believed."""

import numpy as np
import pytest

from guards.drift.cells import count
from guards.drift.monitor import DriftSettings, Monitor, MonitorState
from guards.drift.reference import Channel, Reference
from guards.drift.thinning import EntityThinner

CHANNELS, N_REF, TICK_ROWS = 4, 2000, 20
SETTINGS = DriftSettings(run_length_ticks=1e4)


def _reference(seed: int = 0, n: int = N_REF) -> Reference:
    rows = np.random.default_rng(seed).normal(size=(n, CHANNELS))
    return Reference.fit([Channel(f"x{j}", rows[:, j]) for j in range(CHANNELS)])


REFERENCE = _reference()
MONITOR = Monitor(REFERENCE, SETTINGS)


def _run(monitor: Monitor, rows: np.ndarray, state: MonitorState | None = None) -> MonitorState:
    state = state or monitor.begin()
    codes = REFERENCE.layout.codes(rows)
    for start in range(0, len(rows), TICK_ROWS):
        state = monitor.advance(state, count(codes[start : start + TICK_ROWS]))
    return state


def _ordinary(rows: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, CHANNELS))


def test_traffic_like_the_reference_raises_no_alarm() -> None:
    finding = MONITOR.finding(_run(MONITOR, _ordinary(20_000)))

    assert not finding.alarm
    assert not finding.ever
    assert not any(channel.named for channel in finding.channels)


def test_a_shifted_feature_is_found_named_and_dated() -> None:
    rows = _ordinary(6000)
    rows[4000:, 2] += 1

    finding = MONITOR.finding(_run(MONITOR, rows))

    assert finding.alarm
    assert [channel.name for channel in finding.channels if channel.named] == ["x2"]
    assert finding.channels[0].how == "higher"
    assert finding.alarmed_tick == pytest.approx(4000 / TICK_ROWS, abs=5)
    assert finding.since_tick == pytest.approx(4000 / TICK_ROWS, abs=3)


def test_a_dropped_field_is_drift() -> None:
    """Trap: monitors that drop NaN see nothing at all here."""
    rows = _ordinary(2000)
    rows[1000:, 1] = np.nan

    finding = MONITOR.finding(_run(MONITOR, rows))

    assert finding.alarm
    assert (finding.channels[0].name, finding.channels[0].how) == ("x1", "more missing")


def test_a_feature_that_the_model_ignores_wakes_nobody_but_is_named() -> None:
    """Trap: alarms on features without influence."""
    monitor = Monitor(REFERENCE, SETTINGS, weights=(1, 1, 0, 1))
    rows = _ordinary(4000)
    rows[:, 2] += 2

    finding = monitor.finding(_run(monitor, rows))

    assert not finding.alarm
    assert [channel.name for channel in finding.channels if channel.named] == ["x2"]


def test_an_alarm_ends_when_the_drift_does() -> None:
    rows = _ordinary(8000)
    rows[1000:5000, 0] += 1

    during = _run(MONITOR, rows[:5000])
    after = _run(MONITOR, rows[5000:], during)

    assert MONITOR.finding(during).alarm
    assert not MONITOR.finding(after).alarm
    assert MONITOR.finding(after).ever


def test_an_empty_tick_is_no_tick() -> None:
    state = _run(MONITOR, _ordinary(100))

    assert MONITOR.advance(state, state.total * 0) is state


def test_the_same_ticks_give_the_same_state_to_the_last_bit() -> None:
    rows = _ordinary(3000)
    rows[1500:, 3] *= 2

    there, here = _run(MONITOR, rows), _run(Monitor(_reference(), SETTINGS), rows)

    for name in ("log_process", "log_detector", "log_started"):
        assert getattr(there.wealth, name).tobytes() == getattr(here.wealth, name).tobytes()
    assert MONITOR.finding(there) == MONITOR.finding(here)


def test_false_alarms_stay_within_delta_and_the_run_length() -> None:
    """40 references, 250 ticks each: at most delta + 250 / run length may alarm."""
    alarms = 0
    for seed in range(40):
        monitor = Monitor(_reference(seed, n=500), DriftSettings(run_length_ticks=2500))
        codes = _reference(seed, n=500).layout.codes(_ordinary(5000, seed=1000 + seed))
        state = monitor.begin()
        for start in range(0, 5000, TICK_ROWS):
            state = monitor.advance(state, count(codes[start : start + TICK_ROWS]))
        alarms += monitor.finding(state).alarm

    assert alarms <= 40 * (0.05 + 250 / 2500) + 3 * np.sqrt(40 * 0.15 * 0.85)


def test_discrete_features_raise_no_alarm_by_their_ties() -> None:
    """Trap: bounds for continuous values break on atoms."""
    rng = np.random.default_rng(5)
    draw = lambda n: np.minimum(rng.poisson(2, n), 6).astype(float)  # noqa: E731
    reference = Reference.fit([Channel("children", draw(500))])
    monitor = Monitor(reference, SETTINGS)
    state = monitor.begin()
    for _ in range(500):
        state = monitor.advance(state, count(reference.layout.codes(draw(20)[:, None])))

    assert not monitor.finding(state).alarm


def _wandering(n: int, rng: np.random.Generator) -> np.ndarray:
    """AR(1) with coefficient 0.95 and variance 1."""
    values = np.empty(n)
    values[0] = rng.normal()
    steps = rng.normal(0, np.sqrt(1 - 0.95**2), n)
    for i in range(1, n):
        values[i] = 0.95 * values[i - 1] + steps[i]
    return values


def test_wandering_traffic_breaks_the_promise_and_the_design_effect_mends_it() -> None:
    """Trap: autocorrelated traffic.  What is promised holds for independent values."""
    rng = np.random.default_rng(6)
    ordinary, traffic = _wandering(20_000, rng), _wandering(20_000, rng)
    alarms = {}
    for time_ordered in (False, True):
        reference = Reference.fit([Channel("x", ordinary)], time_ordered=time_ordered)
        monitor, codes = Monitor(reference, SETTINGS), reference.layout.codes(traffic[:, None])
        state = monitor.begin()
        raised = False
        for start in range(0, len(traffic), TICK_ROWS):
            state = monitor.advance(state, count(codes[start : start + TICK_ROWS]))
            raised |= state.alarmed is not None
        alarms[time_ordered] = raised

    assert alarms == {False: True, True: False}


def test_one_client_that_repeats_itself_is_counted_once_a_tick() -> None:
    """Trap: one tenant dominates."""
    rng = np.random.default_rng(7)
    thinner, alarms = EntityThinner(), {}
    for thins in (False, True):
        state = MONITOR.begin()
        for tick in range(200):
            rows = np.concatenate([rng.normal(size=(20, CHANNELS)), np.full((30, CHANNELS), 0.7)])
            entities = [f"client {row}" for row in range(20)] + ["busy"] * 30
            kept = thinner.first(entities, tick) if thins else np.ones(50, bool)
            state = MONITOR.advance(state, count(REFERENCE.layout.codes(rows[kept])))
        alarms[thins] = state.alarmed is not None

    assert alarms[False]
    # One of 21 is still that client: drift, but of an entity, not of its eagerness.
    assert not alarms[True] or MONITOR.finding(state).log_detector < 40


@pytest.mark.parametrize("weights", [(1, 1, 1), (0, 0, 0, 0), (1, -1, 1, 1)])
def test_weights_that_weigh_nothing_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="4 channels need as many weights"):
        Monitor(REFERENCE, SETTINGS, weights=weights)
