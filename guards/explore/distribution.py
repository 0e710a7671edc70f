"""A distribution over actions: the draw and the logged propensity come from one object."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SUM_TOLERANCE = 1e-12  # float64 rounding of a sum over a few thousand actions stays below


@dataclass(frozen=True, slots=True)
class Categorical:
    """One probability per row and action."""

    p: NDArray[np.float64]  # (n, k)

    def __post_init__(self) -> None:
        """Refuse what is no distribution: a propensity read from it would be a lie."""
        off = np.abs(self.p.sum(axis=1) - 1)
        if not ((self.p >= 0).all() and (off <= SUM_TOLERANCE).all()):  # NaN fails both
            raise ValueError("probabilities must be at least 0 and sum to 1 in every row")

    def draw(self, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """Draw one action per row from uniforms in (0, 1], shape (n, k).

        Each action is a clock that rings after -log(u)/p; the first to ring is
        served.  That is the Gumbel-max draw, argmax of log p - log(-log u), with
        one logarithm less, and like it does not depend on the order of actions.
        """
        with np.errstate(all="ignore"):  # what is hardly possible rings at infinity: never
            rings = np.where(self.p > 0, -np.log(uniforms) / self.p, np.inf)
        return np.asarray(rings.argmin(axis=1))

    def propensity(self, actions: NDArray[np.int64]) -> NDArray[np.float64]:
        """Read the probability with which ``actions`` are drawn, shape (n,)."""
        return self.p[np.arange(len(actions)), actions]
