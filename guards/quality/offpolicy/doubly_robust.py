"""Estimates that start from a model of the reward and correct it by what was observed."""

from dataclasses import dataclass

import numpy as np

from guards.quality.offpolicy.estimate import Estimate, weighted_mean
from guards.quality.offpolicy.logged import Floats, LoggedData


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a reward model expects, fitted on other rows than those it is asked about."""

    served: Floats  # (n,), of the action that was served
    target: Floats  # (n,), of the target policy's action, averaged over its probabilities


def direct(data: LoggedData, predictions: Predictions) -> Estimate:
    """Trust the model: a diagnostic.  Its interval does not know how wrong the model is."""
    return Estimate("direct", *weighted_mean(predictions.target, data.counts), data.units)


def dr(data: LoggedData, predictions: Predictions) -> Estimate:
    """Doubly robust: right if the propensities are, however wrong the model; less spread
    the better the model.

    Source: Dudík, Langford, Li (2011), "Doubly robust policy evaluation and learning", ICML.
    """
    return _corrected("dr", data, predictions, weights=data.weights)


def switch_dr(data: LoggedData, predictions: Predictions, *, limit: float) -> Estimate:
    """DR that trusts the model alone where a weight is above ``limit``: a diagnostic.

    Source: Wang, Agarwal, Dudík (2017), "Optimal and adaptive off-policy evaluation", ICML.
    """
    weights = np.where(data.weights <= limit, data.weights, 0.0)
    return _corrected("switch_dr", data, predictions, weights=weights)


def dros(data: LoggedData, predictions: Predictions, *, shrinkage: float) -> Estimate:
    """DR with optimistically shrunk weights: a diagnostic.

    The weight is λw / (w² + λ): about w where w² is far below λ, and 0 as w grows.
    λ = 0 is the model alone, λ = infinity is DR.

    Source: Su et al. (2020), "Doubly robust off-policy evaluation with shrinkage", ICML.
    """
    w = data.weights
    return _corrected("dros", data, predictions, weights=shrinkage * w / (w**2 + shrinkage))


def _corrected(
    name: str, data: LoggedData, predictions: Predictions, *, weights: Floats
) -> Estimate:
    """Add the weighted residual of what was served to the model's expectation."""
    terms = predictions.target + weights * (data.rewards - predictions.served)
    return Estimate(name, *weighted_mean(terms, data.counts), data.units)
