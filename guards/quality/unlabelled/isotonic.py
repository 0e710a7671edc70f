"""A rising curve from confidence to the share that is right."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curve:
    """A step function that never falls, linear between its knots."""

    at: Floats  # (m,), rising
    share: Floats  # (m,), not falling

    def __call__(self, confidence: Floats) -> Floats:
        """Read the curve; flat beyond its ends."""
        return np.interp(confidence, self.at, self.share)


def fit_curve(confidence: Floats, right: NDArray[np.bool_], weights: Floats | None = None) -> Curve:
    """Fit by pool adjacent violators.

    Args:
        confidence: Shape (n,), n >= 1; ties are one knot.
        right: Shape (n,).
        weights: Shape (n,), positive; None: all alike.

    Source: Zadrozny, Elkan (2002), "Transforming classifier scores into accurate multiclass
    probability estimates", KDD.
    """
    weights = np.ones(len(right)) if weights is None else weights
    knots, group = np.unique(confidence, return_inverse=True)
    mass = np.bincount(group, weights)
    means = np.bincount(group, weights * right) / mass
    return Curve(knots, np.asarray(isotonic_regression(means, weights=mass).x))
