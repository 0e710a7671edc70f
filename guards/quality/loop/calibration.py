"""Does the model promise more where it chose than it keeps?  The cleanest sign of a loop.

On uniformly drawn traffic nobody chose, so what the model is off there is a plain
error.  On traffic it chose, it is off by that and by the loop: what was overrated is
served and what was underrated is never seen.  The difference of both is the gap.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from guards.quality.offpolicy.interval import Interval

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Excess:
    """Predicted minus observed reward over some traffic; excesses of parts merge."""

    rows: int = 0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared deviations from the mean

    @classmethod
    def of(cls, predicted: Floats, observed: Floats) -> Self:
        """Measure rows, shape (n,) each."""
        if not len(predicted):
            return cls()
        gap = predicted - observed
        mean = float(gap.mean())
        return cls(len(gap), mean, float(((gap - mean) ** 2).sum()))

    def merge(self, other: Self) -> Self:
        """Take two parts together.

        Source: Chan, Golub, LeVeque (1983), "Algorithms for computing the sample
        variance", The American Statistician 37(3): no cancellation.
        """
        rows = self.rows + other.rows
        if not rows:
            return self
        apart = other.mean - self.mean
        mean = self.mean + apart * other.rows / rows
        squares = self.squares + other.squares + apart**2 * self.rows * other.rows / rows
        return type(self)(rows, mean, squares)

    @property
    def variance(self) -> float:
        """Of the mean; infinite of fewer than two rows."""
        return self.squares / (self.rows * (self.rows - 1)) if self.rows > 1 else float("inf")


def loop_gap(chosen: Excess, uniform: Excess, *, alpha: float = 0.05) -> tuple[float, Interval]:
    """Compare the model on traffic it chose with traffic a die chose.

    Returns:
        The gap, above 0 where the loop feeds itself, and its interval at one look.
    """
    gap = chosen.mean - uniform.mean
    half = float(norm.isf(alpha / 2) * np.sqrt(chosen.variance + uniform.variance))
    return gap, Interval(gap - half, gap + half, alpha, anytime=False)
