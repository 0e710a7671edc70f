"""Champion against challenger: who loses less, told at any time, whatever one hopes for.

Source: Waudby-Smith and Ramdas (2024), "Estimating means of bounded random variables by betting",
JRSS-B 86(1): the wealth of a gambler who bets against "the challenger is no better"; and Ville's
inequality.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Floats = NDArray[np.float64]

# Stakes, as shares of what may be lost at most; a gambler who spreads his money over many of them
# is not far from one who knew the best.  Few, small stakes for small differences.
STAKES = np.geomspace(1 / 256, 1 / 2, 24)


class Winner(StrEnum):
    """What paired losses say so far."""

    CHALLENGER = "challenger"
    CHAMPION = "champion"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Contest:
    """State of a contest: log-wealth of each stake, for either side.  Grows row by row."""

    rows: int
    gain: float  # sum of champion's loss - challenger's loss
    better: Floats  # log wealth against "no better by more than the margin"
    worse: Floats

    @classmethod
    def begin(cls) -> "Contest":
        """Nothing seen yet."""
        return cls(0, 0.0, np.zeros(len(STAKES)), np.zeros(len(STAKES)))

    @property
    def log_evidence(self) -> float:
        """That the challenger is better, in nats."""
        return _mixed(self.better)

    @property
    def log_counter_evidence(self) -> float:
        """That the champion is."""
        return _mixed(self.worse)

    def winner(self, *, alpha: float) -> Winner:
        """Name who won; wrong with probability ``alpha`` at most, over all looks and both sides."""
        needed = -np.log(alpha / 2)
        if self.log_evidence >= needed:
            return Winner.CHALLENGER
        return Winner.CHAMPION if self.log_counter_evidence >= needed else Winner.UNDECIDED


def advance(contest: Contest, differences: Floats, *, margin: float = 0.0) -> Contest:
    """Take more rows into account, in the order in which they came; or in any, if exchangeable.

    The wealth of fixed stakes is a product over rows, so shards of rows may be advanced in any
    order: merging is adding.

    Args:
        contest: So far.
        differences: Shape (n,), the champion's loss less the challenger's on the same
            row, in [-1, 1].
        margin: The challenger must be better by more than this; the champion wins where it is not
            better at all.

    Raises:
        ValueError: a difference is outside [-1, 1], or the margin outside [0, 1).
    """
    if not 0 <= margin < 1:
        raise ValueError(f"the margin is a share of the loss, in [0, 1): {margin:g}")
    if len(differences) and not np.abs(differences).max() <= 1:
        raise ValueError("differences of losses must lie within [-1, 1]")
    return Contest(
        contest.rows + len(differences),
        contest.gain + float(differences.sum()),
        contest.better + _wealth((differences - margin) / (1 + margin)),
        contest.worse + _wealth(-differences),
    )


def merge(first: Contest, second: Contest) -> Contest:
    """Put two disjoint sets of rows together."""
    return Contest(
        first.rows + second.rows,
        first.gain + second.gain,
        first.better + second.better,
        first.worse + second.worse,
    )


def _wealth(outcomes: Floats) -> Floats:
    """Log wealth won by each stake, outcomes in [-1, 1] with mean 0 at most under the null."""
    if not len(outcomes):
        return np.zeros(len(STAKES))
    values, counts = np.unique(outcomes, return_counts=True)  # losses of 0 and 1: three values
    return np.asarray(np.log1p(np.outer(STAKES, values)) @ counts)


def _mixed(wealth: Floats) -> float:
    return float(logsumexp(wealth) - np.log(len(wealth)))
