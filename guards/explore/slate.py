"""What every distribution over slates offers: draw, propensities, expected regret."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from guards.errors import GuardError
from guards.explore.rng import Noise

Slots = NDArray[np.int64]  # (k,), candidates by their place in the list, first slot first
Probabilities = NDArray[np.float64]


class NoMarginalsError(GuardError):
    """The probability of each item at each position has no closed form here."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        """Name what has none."""
        return f"{self.what} has no exact marginals"


@dataclass(frozen=True, slots=True)
class Draw:
    """A slate, and which part of the policy made it (for people; estimators need it not)."""

    slots: Slots
    component: str = ""


class SlateDistribution(Protocol):
    """The distribution of one decision; the sampler and the log read this object and no other."""

    @property
    def k(self) -> int:
        """Slots that are filled."""
        ...

    def sample(self, noise: Noise) -> Draw:
        """Draw a slate; a pure function of the noise."""
        ...

    def cond_probs(self, slots: Slots) -> Probabilities:
        """Probability of each slot's item given the slots before it, shape (k,)."""
        ...

    def first_slot(self) -> Probabilities:
        """Distribution of the first slot over all candidates, shape (n,)."""
        ...

    def expected_regret(self, scores: NDArray[np.float64], greedy: Slots) -> float:
        """Score given up, summed over slots, each judged after the greedy choice before it."""
        ...

    def marginals(self) -> Probabilities:
        """Probability of each item at each position, shape (n, k).

        Raises:
            NoMarginalsError: there is no exact way.
        """
        ...


def log_prob(distribution: SlateDistribution, slots: Slots) -> float:
    """Log probability of a whole slate; -inf where it cannot be drawn."""
    with np.errstate(divide="ignore"):
        return float(np.log(distribution.cond_probs(slots)).sum())


def is_distribution(distribution: SlateDistribution, eligible: NDArray[np.bool_]) -> bool:
    """Judge the first slot: finite, at least 0, sums to 1, nothing on what is masked."""
    p = distribution.first_slot()
    return bool(p.min() >= 0 and abs(p.sum() - 1) <= 1e-12 and not p[~eligible].any())  # NaN fails


def remaining_sums(values: NDArray[np.float64], slots: Slots) -> NDArray[np.float64]:
    """Sum of ``values`` over what is left before each slot, shape (k,).

    As suffix sums: what the slots hold is added back, never subtracted, because the served items
    may outweigh all others by more than float64 holds.
    """
    rest = values.copy()
    rest[slots] = 0.0
    held = values[slots]
    return np.asarray(rest.sum() + held[::-1].cumsum()[::-1])
