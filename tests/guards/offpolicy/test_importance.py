"""Identities that hold whatever the log, and agreement with independent implementations."""

from dataclasses import replace

import numpy as np
import pytest
from estimators.bandits import cs
from estimators.bandits import ips as vw_ips
from estimators.bandits import snips as vw_snips
from hypothesis import given
from hypothesis import strategies as st

from guards.quality.offpolicy.asymptotic import asymptotic, standard_error
from guards.quality.offpolicy.betting import betting
from guards.quality.offpolicy.doubly_robust import Predictions, direct, dr, dros, switch_dr
from guards.quality.offpolicy.errors import NotExploredError
from guards.quality.offpolicy.importance import clipped, clipping_bias, ips, on_policy, snips
from guards.quality.offpolicy.logged import LoggedData, check_modes
from tests.guards.offpolicy.logs import simulate

seeds = st.integers(0, 2**32 - 1)


def some_log(seed: int) -> LoggedData:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 60))
    return LoggedData(
        rng.normal(size=n), rng.uniform(0.05, 1, n), rng.uniform(0, 1, n), np.arange(n) // 2
    )


@given(seeds)
def test_a_target_that_is_the_logger_earns_what_was_earned(seed: int) -> None:
    log = some_log(seed)
    same = replace(log, target=log.propensities)

    mean = float(log.rewards.mean())
    for estimate in (ips(same), snips(same), on_policy(same), clipped(same, limit=1)):
        assert estimate.value == pytest.approx(mean)
        assert float(estimate.influence.mean()) == pytest.approx(0, abs=1e-12)


@given(seeds, st.floats(-5, 5))
def test_snips_of_a_constant_reward_is_the_constant(seed: int, reward: float) -> None:
    log = some_log(seed)
    estimate = snips(replace(log, rewards=np.full(len(log), reward)))

    assert estimate.value == pytest.approx(reward, abs=1e-9)
    assert standard_error(estimate) == pytest.approx(0, abs=1e-9)


@given(seeds, st.floats(0.01, 100))
def test_scaling_rewards_scales_value_and_error(seed: int, factor: float) -> None:
    log = some_log(seed)
    scaled = replace(log, rewards=log.rewards * factor)

    for estimator in (ips, snips, on_policy):
        assert estimator(scaled).value == pytest.approx(factor * estimator(log).value, abs=1e-9)
        error = factor * standard_error(estimator(log))
        assert standard_error(estimator(scaled)) == pytest.approx(error, abs=1e-9)


@given(seeds)
def test_a_reward_model_of_zeros_makes_dr_ips(seed: int) -> None:
    log = some_log(seed)
    nothing = Predictions(np.zeros(len(log)), np.zeros(len(log)))

    assert dr(log, nothing).value == pytest.approx(ips(log).value)
    assert direct(log, nothing).value == 0


@given(seeds)
def test_limits_of_switch_and_shrinkage_are_dr_and_the_model(seed: int) -> None:
    log = some_log(seed)
    rng = np.random.default_rng(seed)
    guess = Predictions(rng.normal(size=len(log)), rng.normal(size=len(log)))

    assert switch_dr(log, guess, limit=np.inf).value == dr(log, guess).value
    assert switch_dr(log, guess, limit=-1).value == direct(log, guess).value
    assert dros(log, guess, shrinkage=0).value == pytest.approx(direct(log, guess).value)
    # Sums of numbers of size 1 may cancel; what is left of them is no measure.
    nearly = pytest.approx(dr(log, guess).value, rel=1e-6, abs=1e-9)
    assert dros(log, guess, shrinkage=1e12).value == nearly


@given(seeds, st.floats(0.1, 5))
def test_clipping_loses_at_most_what_it_says(seed: int, limit: float) -> None:
    log = some_log(seed)
    largest = float(np.abs(log.rewards).max())

    lost = abs(ips(log).value - clipped(log, limit=limit).value)
    assert lost <= clipping_bias(log, limit=limit, largest_reward=largest) + 1e-9


@given(seeds)
def test_a_dropped_half_is_a_row_counted_twice(seed: int) -> None:
    log = some_log(seed)
    log = replace(log, units=None)
    once = replace(log, pdrop=np.full(len(log), 0.5))
    twice = LoggedData(*(np.repeat(c, 2) for c in (log.rewards, log.propensities, log.target)))

    assert once.counts.sum() == 2 * len(log)
    assert ips(once).value == pytest.approx(ips(twice).value)
    assert snips(once).value == pytest.approx(snips(twice).value)


def test_sampling_the_log_by_reward_leaves_the_expectation() -> None:
    """Half of the rows without a reward are dropped, none of the others."""
    world = simulate(40_000, seed=3)
    rng = np.random.default_rng(4)
    pdrop = np.where(world.data.rewards == 0, 0.5, 0.0)
    kept = rng.uniform(size=len(pdrop)) >= pdrop
    columns = (world.data.rewards, world.data.propensities, world.data.target)
    log = LoggedData(*(column[kept] for column in columns), pdrop=pdrop[kept])

    whole, sampled = ips(world.data), ips(log)
    assert abs(sampled.value - whole.value) < 3 * standard_error(sampled)
    forgotten = ips(replace(log, pdrop=None))
    assert forgotten.value > whole.value + 3 * standard_error(forgotten)


def test_closed_gates_stay_in_the_sample() -> None:
    """The gate closes where the best action earns most; leaving it out understates the value."""
    rng = np.random.default_rng(5)
    n = 20_000
    closed = rng.uniform(size=n) < 0.5
    p = np.where(closed, 1.0, 0.5)
    greedy = rng.uniform(size=n) < p
    rewards = (rng.uniform(size=n) < np.where(closed, 0.9, np.where(greedy, 0.6, 0.2))) * 1.0
    log = LoggedData(rewards, p, np.where(closed | greedy, 1.0, 0.0))  # the target: greedy

    estimate = snips(log)
    assert abs(estimate.value - 0.75) < 4 * standard_error(estimate)
    open_only = LoggedData(rewards[~closed], p[~closed], log.target[~closed])
    assert snips(open_only).value < 0.65


def test_estimates_agree_with_vw_estimators_to_nine_digits() -> None:
    log = simulate(500, seed=1).data
    rng = np.random.default_rng(2)
    pdrop = rng.choice([0.0, 0.5, 0.25], len(log))
    theirs = vw_ips.Estimator(), vw_snips.Estimator(), cs.Interval(), cs.Interval()
    columns = (log.rewards, log.propensities, log.target, pdrop)
    for r, p, target, drop in zip(*(column.tolist() for column in columns), strict=True):
        theirs[0].add_example(p, r, target)
        theirs[1].add_example(p, r, target)
        theirs[2].add_example(p, r, target)
        theirs[3].add_example(p, r, target, p_drop=drop)

    assert ips(log).value == pytest.approx(theirs[0].get(), abs=1e-9)
    assert snips(log).value == pytest.approx(theirs[1].get(), abs=1e-9)
    for data, other in ((log, theirs[2]), (replace(log, pdrop=pdrop), theirs[3])):
        ours = betting(data)
        assert (ours.low, ours.high) == pytest.approx(tuple(other.get(0.05)), abs=1e-9)


def test_rows_of_one_unit_widen_the_interval() -> None:
    """Ten copies of every row are no more evidence than one."""
    log = simulate(300, seed=1).data
    columns = [np.repeat(c, 10) for c in (log.rewards, log.propensities, log.target)]
    copied = LoggedData(*columns, units=np.repeat(np.arange(300), 10))

    assert standard_error(snips(copied)) == pytest.approx(standard_error(snips(log)))
    naive = standard_error(snips(replace(copied, units=None)))
    assert naive == pytest.approx(standard_error(snips(log)) / np.sqrt(10), rel=0.01)


def test_a_target_never_served_has_no_value() -> None:
    log = LoggedData(np.ones(3), np.ones(3), np.zeros(3))

    assert np.isnan(snips(log).value)
    assert ips(log).value == 0
    assert 0.5 in asymptotic(snips(log))  # nothing is excluded


@pytest.mark.parametrize("mode", ["shadow", "apprentice", "off"])
def test_rows_that_were_not_served_as_drawn_are_refused(mode: str) -> None:
    check_modes(["on", "on"])
    with pytest.raises(NotExploredError, match=f"2 rows of mode '{mode}'"):
        check_modes(["on", mode, mode])


@pytest.mark.parametrize(
    ("column", "bad"),
    [("propensities", 0.0), ("propensities", 1.001), ("target", -0.1), ("rewards", np.nan)],
)
def test_impossible_rows_are_refused(column: str, bad: float) -> None:
    columns = {"rewards": np.ones(3), "propensities": np.ones(3), "target": np.ones(3)}
    columns[column] = np.array([1.0, bad, 1.0])

    with pytest.raises(ValueError, match="must be"):
        LoggedData(**columns)
