"""How much less the lower positions of a list are looked at, from randomised neighbours.

Lists whose adjacent items were swapped by the toss of a coin (the ``swap_pairs`` decorator)
show the same items at neighbouring positions.  Of an item ranked i and shown at k the
click rate is θ_k ρ_i: examination of the position times appeal at that rank.  Averaged
over requests this holds whatever the items are, because the coin knows nothing of them.

Source: Radlinski and Joachims (2006), "Minimally invasive randomization", AAAI, for the
pairs; Agarwal et al. (2019), "Estimating position bias without intrusive interventions",
WSDM, for fitting all positions at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.int64]  # (k, k), by the rank the model gave and the position it was shown at

ROUNDS = 1_000  # of fitting; neighbours share much, so a few hundred are usual
CONVERGED = 1e-10  # relative change of the examination per round


@dataclass(frozen=True, slots=True)
class PositionCounts:
    """Impressions and clicks by rank and position; those of replicas and windows add up."""

    shown: Table
    clicked: Table

    @classmethod
    def count(cls, ranks: NDArray[np.int64], clicks: NDArray[np.bool_]) -> Self:
        """Count lists that were shown whole.

        Args:
            ranks: Shape (n, k), rank from 0 that the model gave to what position j showed.
            clicks: Shape (n, k).
        """
        k = ranks.shape[1]
        cells = (ranks * k + np.arange(k)).ravel()
        shown = np.bincount(cells, minlength=k * k).reshape(k, k)
        clicked = np.bincount(cells[clicks.ravel()], minlength=k * k).reshape(k, k)
        return cls(shown, clicked)

    def merge(self, other: Self) -> Self:
        """Add the counts of two parts."""
        return type(self)(self.shown + other.shown, self.clicked + other.clicked)


def examination(counts: PositionCounts) -> NDArray[np.float64]:
    """Estimate how often each position is looked at, relative to the first, shape (k,).

    The likelihood of Poisson counts is maximised by turns, positions given the appeal of
    ranks and the other way round.  NaN from the first position on that no chain of
    swaps with a click on either side connects with the first.
    """
    k = len(counts.shown)
    theta, appeal = np.ones(k), np.ones(k)
    by_position, by_rank = counts.clicked.sum(axis=0), counts.clicked.sum(axis=1)
    for _ in range(ROUNDS):
        before = theta
        appeal = _ratio(by_rank, counts.shown @ theta)
        theta = _ratio(by_position, appeal @ counts.shown)
        theta = theta / theta[0] if theta[0] > 0 else theta
        if np.allclose(theta, before, rtol=CONVERGED, atol=0):
            break
    theta[_first_gap(counts.clicked) :] = np.nan
    return np.asarray(theta)


def examination_error(parts: Sequence[PositionCounts]) -> NDArray[np.float64]:
    """Estimate the standard error of `examination`, leaving out one part at a time, shape (k,).

    Args:
        parts: Twenty or more, of about equal size, no unit in two of them.

    Source: Efron and Stein (1981), "The jackknife estimate of variance", Annals of Statistics 9(3).
    """
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.merge(part)
    without = np.array(
        [
            examination(PositionCounts(whole.shown - p.shown, whole.clicked - p.clicked))
            for p in parts
        ]
    )
    spread = ((without - without.mean(axis=0)) ** 2).sum(axis=0)
    return np.asarray(np.sqrt(spread * (len(parts) - 1) / len(parts)))


def _ratio(counts: NDArray[np.int64], exposure: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(counts, exposure, out=np.zeros(len(counts)), where=exposure > 0)


def _first_gap(clicked: Table) -> int:
    """Find the first position that shares no clicked rank with the positions above it."""
    reached = clicked[:, 0] > 0
    if not reached.any():
        return 0
    for position in range(1, clicked.shape[1]):
        here = clicked[:, position] > 0
        if not (here & reached).any():
            return position
        reached |= here
    return int(clicked.shape[1])
