"""What another ranking policy would have earned, under a stated assumption about users.

| estimator | what may influence the reward of a slot | weight |
|---|---|---|
| `standard` | everything shown | of the whole ranking |
| `reward_interaction` | what stands at or above it (a cascade) | of the slots down to it |
| `cascade_dr` | the same, with a reward model | of the slots down to it |
| `independent` | its own item only | of the slot |
| `pseudo_inverse` | any item, additively; independent slots | 1 + sum of (ratio - 1) |

The fewer slots share a weight, the less it spreads, and the more is assumed.
"""

import numpy as np

from guards.quality.offpolicy.errors import NotFactoredError
from guards.quality.offpolicy.estimate import Estimate, weighted_mean
from guards.quality.offpolicy.logged import Floats
from guards.quality.offpolicy.slate import SlateData


def standard(data: SlateData, *, self_normalised: bool = True) -> Estimate:
    """Weigh the sum of rewards by the probability of the whole ranking; assumes nothing."""
    weights = np.broadcast_to(data.ratios.prod(axis=1)[:, None], data.rewards.shape)
    name = "slate_snips" if self_normalised else "slate_ips"
    return _per_slot(name, data, weights, self_normalised=self_normalised)


def independent(data: SlateData, *, self_normalised: bool = True) -> Estimate:
    """Weigh each slot by its item's marginal probability; misses every interaction.

    Raises:
        ValueError: the marginals are not there.

    Source: Li et al. (2018), "Offline evaluation of ranking policies with click models", KDD.
    """
    if data.logging_marginal is None or data.target_marginal is None:
        raise ValueError("the independent estimate needs marginal probabilities of both policies")
    weights = data.target_marginal / data.logging_marginal
    return _per_slot("independent", data, weights, self_normalised=self_normalised)


def reward_interaction(data: SlateData, *, self_normalised: bool = True) -> Estimate:
    """Weigh each slot by the probability of what stands at or above it.

    Source: McInerney et al. (2020), "Counterfactual evaluation of slate recommendations
    with sequential reward interactions", KDD.
    """
    weights = data.ratios.cumprod(axis=1)
    return _per_slot("reward_interaction", data, weights, self_normalised=self_normalised)


def cascade_dr(data: SlateData, *, served: Floats, target: Floats) -> Estimate:
    """Reward interaction, corrected by a model of what is still to be earned.

    Args:
        data: The rankings.
        served: Shape (n, k), the model's guess of all that slots j and below earn
            under the target, given the served items down to j.
        target: Shape (n, k), the same averaged over the target's choice for slot j,
            given the served items above it.

    Unbiased under a cascade whatever the guesses, as long as they come from other rows.

    Source: Kiyohara et al. (2022), "Doubly robust off-policy evaluation for ranking
    policies under the cascade behavior model", WSDM.
    """
    weights = data.ratios.cumprod(axis=1)
    before = np.column_stack([np.ones(len(weights)), weights[:, :-1]])
    terms = (weights * (data.counted - served) + before * target).sum(axis=1)
    return Estimate("cascade_dr", *weighted_mean(terms, data.counts), data.units)


def pseudo_inverse(data: SlateData) -> Estimate:
    """Estimate the value if the items' effects on the whole add up.

    Raises:
        NotFactoredError: the logger's slots depend on each other; the closed form is
            then wrong by an unknown amount.

    Source: Swaminathan et al. (2017), "Off-policy evaluation for slate recommendation",
    NeurIPS, example 4.
    """
    if not data.factored:
        raise NotFactoredError
    weights = 1 + (data.ratios - 1).sum(axis=1)
    terms = weights * data.counted.sum(axis=1)
    return Estimate("pseudo_inverse", *weighted_mean(terms, data.counts), data.units)


def _per_slot(name: str, data: SlateData, weights: Floats, *, self_normalised: bool) -> Estimate:
    """Add up the slots, each with weights of its own, shape (n, k)."""
    value, influence = 0.0, np.zeros(len(weights))
    for reward, weight in zip(data.counted.T, weights.T, strict=True):
        if self_normalised:
            mean, pull = weighted_mean(reward, data.counts * weight)
        else:
            mean, pull = weighted_mean(weight * reward, data.counts)
        value, influence = value + mean, influence + pull
    return Estimate(name, value, influence, data.units)
