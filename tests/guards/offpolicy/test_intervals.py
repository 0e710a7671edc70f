"""Intervals cover what they say they cover."""

import numpy as np
import pytest

from guards.quality.offpolicy.anytime import asymptotic_sequence
from guards.quality.offpolicy.asymptotic import asymptotic, standard_error
from guards.quality.offpolicy.bernstein import empirical_bernstein
from guards.quality.offpolicy.betting import betting
from guards.quality.offpolicy.doubly_robust import dr
from guards.quality.offpolicy.estimate import Estimate
from guards.quality.offpolicy.importance import ips, snips
from guards.quality.offpolicy.logged import LoggedData
from guards.quality.offpolicy.reward_model import action_features, cross_fit, one_hot
from tests.guards.offpolicy.logs import ACTIONS, World, simulate

RUNS = 200
ROWS = 1500
LEAST = 0.95 - 3 * np.sqrt(0.95 * 0.05 / RUNS)  # three standard errors below


def doubly_robust(world: World) -> Estimate:
    served = action_features(world.context, one_hot(world.actions, ACTIONS))
    target = action_features(world.context, world.target)
    return dr(world.data, cross_fit(served, target, world.data.rewards))


def test_normal_intervals_cover_at_their_level_and_dr_is_the_narrowest() -> None:
    covered, errors, off = np.zeros(3), np.zeros(3), np.zeros((RUNS, 3))
    for seed in range(RUNS):
        world = simulate(ROWS, seed=seed)
        for i, estimate in enumerate((ips(world.data), snips(world.data), doubly_robust(world))):
            covered[i] += world.truth in asymptotic(estimate)
            errors[i] += standard_error(estimate) / RUNS
            off[seed, i] = estimate.value - world.truth

    np.testing.assert_allclose(errors, off.std(axis=0), rtol=0.2)  # neither too short nor too long
    assert (covered / RUNS >= LEAST).all(), covered / RUNS
    assert errors[2] < errors[1] < errors[0]


def test_strict_intervals_cover_and_are_wider() -> None:
    bernstein = betted = 0
    for seed in range(RUNS // 4):
        world = simulate(ROWS, seed=seed)
        normal = asymptotic(ips(world.data))
        terms = world.data.weights * world.data.rewards
        hard = empirical_bernstein(terms, width=1 / 0.04)
        bet = betting(world.data)
        bernstein += world.truth in hard
        betted += world.truth in bet
        assert hard.high - hard.low > normal.high - normal.low < bet.high - bet.low

    assert bernstein == RUNS // 4  # far above its level
    assert betted >= RUNS // 4 - 2


def test_the_sequence_holds_at_all_looks_together_where_the_normal_interval_does_not() -> None:
    looks = range(100, ROWS + 1, 100)
    once = always = 0
    for seed in range(RUNS):
        terms = np.random.default_rng(seed).exponential(size=ROWS)
        seen = [Estimate("mean", m := terms[:n].mean(), terms[:n] - m) for n in looks]
        once += all(1.0 in asymptotic(estimate) for estimate in seen)
        always += all(1.0 in asymptotic_sequence(e, planned_units=ROWS) for e in seen)

    assert always / RUNS >= LEAST
    assert once / RUNS < LEAST


def test_cross_fitting_keeps_a_unit_in_one_half() -> None:
    """A model that saw the unit's other rows would repeat its reward."""
    units = np.repeat(np.arange(40), 5)
    features = np.eye(40)[units]  # the unit is all that is known
    rewards = np.random.default_rng(1).normal(size=40)[units]

    apart = cross_fit(features, features, rewards, units=units, ridge=1e-6)
    leaking = cross_fit(features, features, rewards, ridge=1e-6)
    assert len(np.unique(apart.served.round(6))) == 2  # the mean of the other half
    assert np.abs(leaking.served - rewards).max() < 1e-3


def test_too_little_is_no_interval() -> None:
    lonely = LoggedData(np.ones(4), np.ones(4), np.ones(4), units=np.zeros(4, np.int64))

    assert standard_error(snips(lonely)) == np.inf
    assert 123.0 in asymptotic_sequence(snips(lonely), planned_units=100)
    with pytest.raises(ValueError, match="two terms"):
        empirical_bernstein(np.ones(1), width=1)
    with pytest.raises(ValueError, match="within the stated width"):
        empirical_bernstein(np.array([0.0, 2.0]), width=1)
    with pytest.raises(ValueError, match="within"):
        betting(LoggedData(np.array([2.0]), np.ones(1), np.ones(1)))
