"""One call says all that a log says, and decides by the most exact estimate that may."""

import numpy as np

from guards.quality.offpolicy.comparison import Verdict
from guards.quality.offpolicy.diagnostics import diagnose
from guards.quality.offpolicy.report import report_choices, report_slates
from guards.quality.offpolicy.reward_model import action_features, cross_fit, one_hot
from guards.quality.offpolicy.slate import SlateData
from tests.guards.offpolicy.logs import ACTIONS, simulate


def test_single_choices_are_judged_by_dr_where_there_is_a_reward_model() -> None:
    world = simulate(5_000, seed=1)
    served = action_features(world.context, one_hot(world.actions, ACTIONS))
    target = action_features(world.context, world.target)
    predictions = cross_fit(served, target, world.data.rewards)
    seen = diagnose(world.data, actions=world.actions, logging=world.logging, target=world.target)
    with_model = report_choices(world.data, seen, predictions=predictions)
    without = report_choices(world.data, seen)

    assert {line.estimator for line in with_model.lines if line.may_decide} == {"snips", "dr"}
    values = {line.estimator: line.value for line in with_model.lines}
    baseline = with_model.baseline.value
    assert with_model.comparison.difference == values["dr"] - baseline
    assert without.comparison.difference == values["snips"] - baseline
    for line in with_model.lines:
        assert line.anytime.low < line.interval.low < line.value < line.interval.high
    assert with_model.diagnostics is seen


def test_rankings_are_judged_by_whole_slates_and_say_what_else_they_know() -> None:
    rng = np.random.default_rng(2)
    logging = rng.uniform(0.4, 0.9, (3_000, 2))
    target = np.clip(logging + rng.uniform(-0.1, 0.1, (3_000, 2)), 0.05, 1)
    rewards = (rng.uniform(size=(3_000, 2)) < 0.3).astype(np.float64)
    data = SlateData(rewards, logging, target, logging, target, factored=True)
    told = report_slates(data, diagnose(data.whole))

    names = [line.estimator for line in told.lines]
    assert names == [
        "slate_ips",
        "slate_snips",
        "reward_interaction",
        "independent",
        "pseudo_inverse",
    ]
    assert [line.estimator for line in told.lines if line.may_decide] == ["slate_snips"]
    assert told.baseline.value == rewards.sum(axis=1).mean()
    np.testing.assert_allclose(data.whole.weights, data.ratios.prod(axis=1))
    assert told.comparison.verdict in (Verdict.UNDECIDED, Verdict.REFUSED)  # rewards do not care


def test_plain_rankings_have_no_marginal_estimates() -> None:
    p = np.full((200, 2), 0.5)
    data = SlateData(np.ones((200, 2)), p, p)

    names = {line.estimator for line in report_slates(data, diagnose(data.whole)).lines}
    assert names == {"slate_ips", "slate_snips", "reward_interaction"}
