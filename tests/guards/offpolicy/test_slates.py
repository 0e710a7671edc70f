"""Rankings: each estimator is right under its assumption, and wrong without it."""

import itertools

import numpy as np
import pytest
from estimators.slates import pseudo_inverse as vw_pseudo_inverse
from hypothesis import given
from hypothesis import strategies as st

from guards.quality.offpolicy.asymptotic import asymptotic
from guards.quality.offpolicy.errors import NotFactoredError
from guards.quality.offpolicy.slate import SlateData
from guards.quality.offpolicy.slate_estimators import (
    cascade_dr,
    independent,
    pseudo_inverse,
    reward_interaction,
    standard,
)

ITEMS, SLOTS = 5, 3
ORDERS = np.array(list(itertools.permutations(range(ITEMS), SLOTS)))  # all 60 rankings
LOGGER = np.exp(np.array([0.2, 0.0, 0.4, 0.1, 0.3]))
TARGET = np.exp(np.array([1.2, 0.0, 0.3, 0.9, 0.6]))
APPEAL = np.array([0.7, 0.2, 0.3, 0.6, 0.4])


def conditionals(strengths: np.ndarray, slates: np.ndarray) -> np.ndarray:
    chosen = strengths[slates]
    left = strengths.sum() - np.column_stack([np.zeros(len(slates)), chosen[:, :-1].cumsum(1)])
    return chosen / left


def marginals(strengths: np.ndarray, slates: np.ndarray) -> np.ndarray:
    whole = conditionals(strengths, ORDERS).prod(axis=1)
    table = np.zeros((ITEMS, SLOTS))
    for slot in range(SLOTS):
        np.add.at(table[:, slot], ORDERS[:, slot], whole)
    return np.stack([table[slates[:, j], j] for j in range(SLOTS)], axis=1)


def cascade(slates: np.ndarray) -> np.ndarray:
    """Mean reward per slot: an item earns less the more appeal stands above it."""
    appeal = APPEAL[slates]
    above = np.column_stack([np.zeros(len(slates)), appeal[:, :-1].cumsum(axis=1)])
    return appeal * np.exp(-1.5 * above)


def log(n: int, seed: int, means: np.ndarray) -> SlateData:
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(ORDERS), n, p=conditionals(LOGGER, ORDERS).prod(axis=1))
    slates = ORDERS[drawn]
    rewards = (rng.uniform(size=(n, SLOTS)) < means[drawn]).astype(np.float64)
    tables = [f(s, slates) for f in (conditionals, marginals) for s in (LOGGER, TARGET)]
    return SlateData(rewards, *tables)


def truth(means: np.ndarray) -> float:
    return float(conditionals(TARGET, ORDERS).prod(axis=1) @ means.sum(axis=1))


def test_under_a_cascade_the_independent_estimate_misses_and_the_others_do_not() -> None:
    means = cascade(ORDERS)
    rankings = log(20_000, 1, means)

    for estimate in (standard(rankings), reward_interaction(rankings)):
        assert truth(means) in asymptotic(estimate, alpha=0.001)
    assert truth(means) not in asymptotic(independent(rankings), alpha=0.001)
    assert reward_interaction(rankings).influence.var() < standard(rankings).influence.var()


def test_where_slots_do_not_interact_the_independent_estimate_is_right_and_narrowest() -> None:
    means = APPEAL[ORDERS] * np.array([1.0, 0.6, 0.4])
    rankings = log(20_000, 2, means)

    estimate = independent(rankings)
    assert truth(means) in asymptotic(estimate, alpha=0.001)
    assert estimate.influence.var() < reward_interaction(rankings).influence.var()


def test_the_cascade_model_narrows_and_a_wrong_one_does_not_mislead() -> None:
    means = cascade(ORDERS)
    rankings = log(20_000, 3, means)
    served, target = best_guesses(rankings)
    zeros = np.zeros_like(rankings.rewards)

    good = cascade_dr(rankings, served=served, target=target)
    # The same wrong guess for every action: 3 whatever is chosen.
    wrong = cascade_dr(rankings, served=zeros + 3, target=zeros + 3)
    none = cascade_dr(rankings, served=zeros, target=zeros)
    plain = reward_interaction(rankings, self_normalised=False)
    for estimate in (good, wrong, none):
        assert truth(means) in asymptotic(estimate, alpha=0.001)
    assert none.value == pytest.approx(plain.value)
    assert good.influence.var() < plain.influence.var()


def best_guesses(rankings: SlateData) -> tuple[np.ndarray, np.ndarray]:
    """Expected reward from each slot down, by enumeration, of what the rows served."""
    rng = np.random.default_rng(3)
    drawn = rng.choice(
        len(ORDERS), len(rankings.rewards), p=conditionals(LOGGER, ORDERS).prod(axis=1)
    )
    step, means = conditionals(TARGET, ORDERS), cascade(ORDERS)
    served, target = np.empty((len(ORDERS), SLOTS)), np.empty((len(ORDERS), SLOTS))
    for row, order in enumerate(ORDERS):
        for slot in range(SLOTS):
            down = (ORDERS[:, : slot + 1] == order[: slot + 1]).all(axis=1)
            above = (ORDERS[:, :slot] == order[:slot]).all(axis=1)
            later = means[:, slot:].sum(axis=1)
            served[row, slot] = step[down][:, slot + 1 :].prod(axis=1) @ later[down]
            target[row, slot] = step[above][:, slot:].prod(axis=1) @ later[above]
    return served[drawn], target[drawn]


@given(st.integers(0, 2**32 - 1))
def test_one_policy_for_both_is_the_mean_of_what_was_earned(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, marginal = rng.uniform(0.1, 1, (2, 20, 3))
    data = SlateData(rng.normal(size=(20, 3)), p, p, marginal, marginal, factored=True)

    mean = data.rewards.sum(axis=1).mean()
    for estimator in (standard, independent, reward_interaction, pseudo_inverse):
        assert estimator(data).value == pytest.approx(mean)


def test_the_pseudo_inverse_agrees_with_vw_estimators_and_refuses_rankings() -> None:
    rng = np.random.default_rng(4)
    logging, target = rng.uniform(0.1, 1, (2, 200, 3))
    data = SlateData(rng.uniform(size=(200, 3)), logging, target, factored=True)
    theirs = vw_pseudo_inverse.Estimator()
    for r, p, q in zip(data.rewards, logging, target, strict=True):
        theirs.add_example(p.tolist(), float(r.sum()), q.tolist())

    assert pseudo_inverse(data).value == pytest.approx(theirs.get(), abs=1e-9)
    with pytest.raises(NotFactoredError, match="independently"):
        pseudo_inverse(log(10, 1, cascade(ORDERS)))


def test_slots_count_what_they_are_said_to_count() -> None:
    data = log(100, 5, cascade(ORDERS))
    weighted = SlateData(
        data.rewards, data.logging, data.logging, slot_weights=np.array([1, 0, 2.0])
    )

    expected = (data.rewards[:, 0] + 2 * data.rewards[:, 2]).mean()
    assert standard(weighted).value == pytest.approx(expected)


def test_tables_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        SlateData(np.ones((3, 2)), np.ones((3, 2)), np.ones((3, 1)))
    with pytest.raises(ValueError, match="above 0"):
        SlateData(np.ones((3, 2)), np.zeros((3, 2)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="marginal"):
        independent(SlateData(np.ones((3, 2)), np.ones((3, 2)), np.ones((3, 2))))
