"""A verdict where the log carries it, and a refusal with the reason where it does not."""

from dataclasses import replace

import numpy as np
import pytest

from guards.quality.offpolicy.comparison import Verdict, compare, refusals
from guards.quality.offpolicy.diagnostics import Diagnostics, Handling, diagnose
from guards.quality.offpolicy.importance import clipped, ips, on_policy, snips
from guards.quality.offpolicy.logged import LoggedData
from tests.guards.offpolicy.logs import World, simulate

WORLD = simulate(20_000, seed=9)


def diagnosed(world: World, *, handling: Handling | None = None) -> Diagnostics:
    return diagnose(
        world.data,
        actions=world.actions,
        logging=world.logging,
        target=world.target,
        handling=handling,
    )


def test_a_sound_log_has_sound_diagnostics_and_a_verdict() -> None:
    seen = diagnosed(WORLD)

    assert refusals(snips(WORLD.data), seen) == ()
    assert seen.unsupported == 0
    assert seen.inverse_propensity == pytest.approx(1, abs=0.1)
    assert abs(seen.mean_weight_z) < 3
    assert seen.martingale_z is not None
    assert abs(seen.martingale_z) < 4


def test_a_policy_that_throws_dice_earns_less_and_the_greedy_one_more() -> None:
    dice = replace(WORLD.data, target=np.full(len(WORLD.data), 0.2))
    greedy = replace(WORLD.data, target=np.where(WORLD.data.propensities > 0.5, 1.0, 0.0))

    less = compare(snips(dice), on_policy(WORLD.data), diagnose(dice))
    more = compare(snips(greedy), on_policy(WORLD.data), diagnose(greedy))
    assert (less.verdict, more.verdict) == (Verdict.LESS, Verdict.MORE)
    assert "interval" in less.reasons[0]


def test_a_policy_is_no_better_than_itself() -> None:
    data = WORLD.data
    same = replace(data, target=data.propensities)
    told = compare(snips(same), on_policy(data), diagnose(same))

    assert told.verdict == Verdict.UNDECIDED
    assert told.difference == pytest.approx(0, abs=1e-12)


def test_only_estimators_that_cover_may_decide() -> None:
    seen = diagnosed(WORLD)
    for estimate in (ips(WORLD.data), clipped(WORLD.data, limit=2)):
        told = compare(estimate, on_policy(WORLD.data), seen)
        assert told.verdict == Verdict.REFUSED
        assert "diagnostic" in told.reasons[0]


def test_a_handful_of_extreme_weights_is_refused() -> None:
    """Four of 10,000 effective rows, as in a real log whose least propensity was 1e-6."""
    rng = np.random.default_rng(1)
    p = np.full(10_000, 0.3)
    p[:3] = 1e-5
    data = LoggedData(rng.uniform(size=10_000), p, np.full(10_000, 0.3))
    told = compare(snips(data), on_policy(data), diagnose(data))

    assert told.verdict == Verdict.REFUSED
    assert any("effective sample size 4 of 10,000" in reason for reason in told.reasons)
    assert any("one row carries" in reason for reason in told.reasons)


def test_a_target_beyond_the_logger_is_refused() -> None:
    """The logger never serves action 0, which the target likes."""
    n = 5000
    rng = np.random.default_rng(2)
    logging = np.tile([0.0, 0.5, 0.5], (n, 1))
    target = np.tile([0.2, 0.4, 0.4], (n, 1))
    actions = rng.integers(1, 3, n)
    data = LoggedData(rng.uniform(size=n), np.full(n, 0.5), np.full(n, 0.4))
    seen = diagnose(data, actions=actions, logging=logging, target=target)

    assert seen.unsupported == pytest.approx(0.2)
    assert any("never served" in reason for reason in refusals(snips(data), seen))
    # Without the whole distributions the mean weight gives it away.
    assert any("instead of 1" in why for why in refusals(snips(data), diagnose(data)))


def test_a_veto_after_the_draw_shows_in_the_frequencies() -> None:
    """Half of the explored choices are replaced by the greedy one; the log keeps p."""
    world = simulate(20_000, seed=10)
    greedy = world.logging.argmax(axis=1)
    vetoed = (world.actions != greedy) & (np.random.default_rng(1).uniform(size=20_000) < 0.5)
    seen = diagnosed(replace(world, actions=np.where(vetoed, greedy, world.actions)))

    assert any("not served as its propensities" in why for why in refusals(snips(world.data), seen))


def test_an_action_hardly_ever_served_raises_no_alarm_when_it_is() -> None:
    n = 1000
    logging = np.tile([0.5, 0.5 - 1e-5, 1e-5], (n, 1))
    actions = np.arange(n) % 2
    actions[0] = 2
    rows = np.arange(n)
    data = LoggedData(np.ones(n), logging[rows, actions], logging[rows, actions])
    seen = diagnose(data, actions=actions, logging=logging)

    assert seen.martingale_z is not None
    assert abs(seen.martingale_z) < 15


def test_overrides_are_refused_above_one_in_two_hundred() -> None:
    few = Handling(decisions=20_000, joined=19_000, late=20, overridden=100)
    many = replace(few, overridden=101)

    assert refusals(snips(WORLD.data), diagnosed(WORLD, handling=few)) == ()
    (reason,) = refusals(snips(WORLD.data), diagnosed(WORLD, handling=many))
    assert "overridden" in reason
    assert diagnosed(WORLD, handling=few).join_share == 0.95
    assert Handling(0, 0, 0, 0).share(0) is None


def test_estimates_from_other_rows_have_no_difference() -> None:
    with pytest.raises(ValueError, match="same rows"):
        snips(WORLD.data).minus(snips(simulate(10, seed=1).data))
