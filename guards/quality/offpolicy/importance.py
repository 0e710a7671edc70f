"""Estimates from reweighted rewards alone: no model of the reward, no bias of one.

With w the weight of a row (target / propensity) and c the decisions it stands for.
"""

import numpy as np

from guards.quality.offpolicy.estimate import Estimate, weighted_mean
from guards.quality.offpolicy.logged import LoggedData


def on_policy(data: LoggedData) -> Estimate:
    """Average what the logging policy itself earned."""
    return Estimate("on_policy", *weighted_mean(data.rewards, data.counts), data.units)


def ips(data: LoggedData) -> Estimate:
    """Inverse propensity score: mean of w r.  Unbiased; not invariant to adding a constant.

    Source: Horvitz and Thompson (1952), JASA 47(260).
    """
    return Estimate("ips", *weighted_mean(data.weights * data.rewards, data.counts), data.units)


def snips(data: LoggedData) -> Estimate:
    """Self-normalised: sum of w r over sum of w.  Biased by O(1/n), usually much less spread.

    Source: Swaminathan and Joachims (2015), "The self-normalized estimator for
    counterfactual learning", NeurIPS.
    """
    weights = data.counts * data.weights
    return Estimate("snips", *weighted_mean(data.rewards, weights), data.units)


def clipped(data: LoggedData, *, limit: float) -> Estimate:
    """IPS with weights cut at ``limit``: a diagnostic, biased towards 0.

    Source: Ionides (2008), "Truncated importance sampling", JCGS 17(2).
    """
    weights = np.minimum(data.weights, limit)
    return Estimate("clipped", *weighted_mean(weights * data.rewards, data.counts), data.units)


def clipping_bias(data: LoggedData, *, limit: float, largest_reward: float) -> float:
    """Bound how much `clipped` may be off, rewards being in [-largest_reward, largest_reward]."""
    lost = np.maximum(data.weights - limit, 0)
    return largest_reward * weighted_mean(lost, data.counts)[0]
