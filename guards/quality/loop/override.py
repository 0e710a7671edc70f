"""Notices that somebody downstream replaces explored choices without saying so.

What was shown (confirmed, or named with the reward) is compared with how often the
logged propensities say that something else than the greedy choice should have been.
A veto after the draw makes it rarer, and every estimate from the log wrong.

Source: Ville (1939) for the bound; Wald (1945) for the likelihood ratio; Shin, Ramdas,
Rinaldo (2024), "E-detectors", for bets that begin later.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

# Shares of explored traffic that might be overridden, and how likely each is taken to be.
OVERRIDDEN = np.array([0.1, 0.3, 1.0])
PRIOR = np.array([0.6, 0.2, 0.2])
FIRST_BET = 0.8  # wealth staked on "from the start"; the rest on later and later starts
STAKES = 64  # later starts: enough for years of blocks, because the last one bets on all later
BLOCK = 5_000  # decisions between two starts
LEAST = 1e-12  # of a likelihood: an explored choice although all were overridden


@dataclass(frozen=True, slots=True)
class OverrideMonitor:
    """A bet against "explored choices are shown as often as they were drawn".

    Under that hypothesis, whatever the propensities and however they came about, the
    wealth ever reaches 1 / alpha with probability alpha at most: not per month, ever.
    A value: `observe` returns the next one.
    """

    decisions: int
    log_wealth: NDArray[np.float64]  # (STAKES, 3), one bet per start and share overridden

    @classmethod
    def start(cls) -> Self:
        """Begin with nothing won or lost."""
        return cls(0, np.zeros((STAKES, len(OVERRIDDEN))))

    def observe(self, explored: NDArray[np.bool_], probability: NDArray[np.float64]) -> Self:
        """Take in decisions, in order.

        Args:
            explored: Shape (n,), what was shown is not the greedy choice.
            probability: Shape (n,), the logged probability that it would not be.
        """
        left = probability[:, None] * (1 - OVERRIDDEN)
        with np.errstate(divide="ignore", invalid="ignore"):
            shown = np.log(np.maximum(1 - OVERRIDDEN, LEAST))
            hidden = np.log((1 - left) / (1 - probability[:, None]))
        gains = np.where(explored[:, None], shown, hidden)
        gains[(probability <= 0) | (probability >= 1)] = 0.0  # says nothing
        blocks = (self.decisions + np.arange(len(explored))) // BLOCK
        wealth = self.log_wealth.copy()
        for block in np.unique(blocks):
            wealth[: int(block) + 1] += gains[blocks == block].sum(axis=0)
        return type(self)(self.decisions + len(explored), wealth)

    @property
    def evidence(self) -> float:
        """Log of the wealth of all bets together; bets that have not begun keep their stake."""
        starts = np.arange(1, STAKES)
        later = (1 - FIRST_BET) / (starts * (starts + 1)) / (1 - 1 / STAKES)
        stakes = np.concatenate([[FIRST_BET], later])[:, None] * PRIOR
        return float(np.logaddexp.reduce((self.log_wealth + np.log(stakes)).ravel()))

    def alarm(self, *, alpha: float = 0.01) -> bool:
        """Tell whether the wealth has reached 1 / alpha."""
        return self.evidence >= -float(np.log(alpha))
