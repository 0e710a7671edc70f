"""Approvals: who is denied by the threshold is approved as often as the shape says."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import binomtest

from guards.explore.policies import Boundary, CostAware, UniformReject
from guards.explore.settings import ThresholdExplore
from guards.explore.threshold import approval, cost_aware_scale
from guards.explore.threshold_explorer import ThresholdExplorer

SALT = bytes(range(32))


def reject(**fields: Any) -> ThresholdExplore:
    return ThresholdExplore(
        **{"threshold": 0.2, "hard_stop": 0.6, "shape": UniformReject(epsilon=0.1), **fields}
    )


SCORES = np.array([0.1, 0.2, 0.3, 0.59, 0.6, 0.9])


@pytest.mark.parametrize(
    ("settings_", "p"),
    [
        (reject(), [1, 0.1, 0.1, 0.1, 0, 0]),
        (reject(shape=Boundary(epsilon=0.4, width=0.2)), [1, 0.4, 0.2, 0, 0, 0]),
        (
            reject(shape=CostAware(scale=0.2, cost="c", least=0.01, most=0.05)),
            [1, 0.05, 0.05, 0.05, 0, 0],
        ),
        (reject(approve="above", threshold=0.6, hard_stop=0.2), [0, 0, 0.1, 0.1, 0.1, 1]),
    ],
)
def test_shapes(settings_: ThresholdExplore, p: list[float]) -> None:
    np.testing.assert_allclose(approval(SCORES, settings_, np.ones(6)), p, atol=1e-12)


def test_approvals_come_as_often_as_they_are_told() -> None:
    n = 40_000
    choices = ThresholdExplorer(reject(), SALT).decide(
        np.tile([0.1, 0.4, 0.7], n), [str(at) for at in range(3 * n)]
    )
    approved = choices.served[:, 0].reshape(n, 3).sum(axis=0)

    assert approved[0] == n
    assert approved[2] == 0
    assert binomtest(int(approved[1]), n, 0.1).pvalue > 1e-4
    told = choices.propensity[:, 0].reshape(n, 3)
    assert (told[:, [0, 2]] == 1).all()
    np.testing.assert_allclose(np.unique(told[:, 1]), [0.1, 0.9])
    assert choices.explored.sum() == approved[1]


@given(
    scores=st.lists(st.floats(width=64), min_size=1, max_size=8),
    cost=st.lists(st.floats(width=64), min_size=8, max_size=8),
    exposure=st.lists(st.floats(width=64), min_size=8, max_size=8),
    shape=st.sampled_from(
        [UniformReject(epsilon=0.3), Boundary(width=0.1), CostAware(scale=0.1, cost="c")]
    ),
)
@settings(max_examples=200, deadline=None)
def test_whatever_comes_is_decided(
    scores: list[float], cost: list[float], exposure: list[float], shape: Any
) -> None:
    n = len(scores)
    settings_ = reject(shape=shape, exposure="amount", max_exposure=100.0)
    is_costly = shape.kind == "cost_aware"
    choices = ThresholdExplorer(settings_, SALT).decide(
        np.array(scores),
        [str(at) for at in range(n)],
        cost=np.array(cost[:n]) if is_costly else None,
        exposure=np.array(exposure[:n]),
    )

    for row, why in enumerate(choices.reasons):
        score, served = scores[row], choices.served[row, 0]
        assert 0 < choices.propensity[row, 0] <= 1
        if why is not None or score < 0.2 or score >= 0.6:
            assert served == (score < 0.2)
            assert choices.propensity[row, 0] == 1
        if not np.isfinite(score):
            assert why == "not_finite"
        if why is None:
            assert exposure[row] <= 100
            assert not is_costly or cost[row] > 0


def test_a_score_that_is_no_number_is_denied() -> None:
    for way in ({}, {"approve": "above", "threshold": 0.6, "hard_stop": 0.2}):
        choices = ThresholdExplorer(reject(**way), SALT).decide(np.array([np.nan]), ["k"])

        assert choices.served.tolist() == [[0]]
        assert choices.reasons == ("not_finite",)


def test_the_cost_aware_scale_spends_its_budget_with_the_least_variance() -> None:
    rng = np.random.default_rng(0)
    p, cost = rng.uniform(0.2, 0.6, 2000), rng.lognormal(1, 1, 2000)
    budget = 0.05 * float(cost.mean())
    scale = cost_aware_scale(p, cost, budget=budget, least=1e-4, most=1.0)
    shape = CostAware(scale=scale, cost="c", least=1e-4, most=1.0)
    epsilon = approval(p, reject(threshold=0.1, hard_stop=0.9, shape=shape), cost)

    assert float((epsilon * cost).mean()) == pytest.approx(budget)

    def variance(e: np.ndarray[Any, Any]) -> float:
        return float((p * (1 - p) / e).sum())

    assert variance(epsilon) < 0.95 * variance(np.full(2000, 0.05))
    for seed in range(20):  # no other allocation of the same cost does better
        other = epsilon * np.exp(0.2 * np.random.default_rng(seed).normal(size=2000))
        other *= budget / float((other * cost).mean())
        assert variance(other) > variance(epsilon)
    with pytest.raises(ValueError, match="can be spent"):
        cost_aware_scale(p, cost, budget=1e9)


def test_the_cap_on_expected_regret_makes_costly_approvals_rarer() -> None:
    settings_ = reject(shape=CostAware(scale=1.0, cost="c", most=0.5), max_expected_regret=1.0)
    cost = np.array([1.0, 10.0, 1000.0])
    choices = ThresholdExplorer(settings_, SALT).decide(np.full(3, 0.5), ["a", "b", "c"], cost=cost)

    assert (choices.expected_regret <= 1.0 + 1e-12).all()
    np.testing.assert_allclose(choices.first[:, 1] * cost, choices.expected_regret)


@pytest.mark.parametrize(
    "fields",
    [
        {"hard_stop": 0.1},
        {"approve": "above"},
        {"mode": "apprentice"},
        {"exposure": "amount"},
        {"shape": {"kind": "cost_aware", "scale": 1, "cost": "c", "least": 0.5}},
    ],
)
def test_settings_that_contradict_themselves_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ThresholdExplore.model_validate({"threshold": 0.2, "hard_stop": 0.6} | fields)
