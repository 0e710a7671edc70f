"""From scores to p-values and to a threshold with a finite-sample promise.

Source: Bates, Candès, Lei, Romano, Sesia (2023), "Testing for outliers with
conformal p-values", Annals of Statistics 51(1): the calibration-conditional
(PAC) bound, here in its exact form for one threshold.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from guards.errors import CalibrationTooSmallError
from guards.verdict import Guarantee, Vector


def pac_rank(n: int, alpha: float, delta: float) -> int:
    """Choose which of the ``n`` largest calibration scores becomes the threshold.

    The share of ordinary rows that score above the r-th largest of ``n``
    exchangeable scores is Beta(r, n + 1 - r) distributed over the draw of the
    calibration rows (stochastically smaller if scores tie).  The rank returned is
    the largest with P(Beta > alpha) <= delta; 0 when not even the largest score
    is far enough out.
    """
    # P(Beta(r, n + 1 - r) > alpha) = P(Binomial(n, alpha) <= r - 1), increasing in r.
    return bisect_right(range(1, n + 1), delta, key=lambda r: float(bdtr(r - 1, n, alpha)))


def needed(alpha: float, delta: float) -> int:
    """Count the calibration rows without which no threshold keeps the promise."""
    n = max(1, math.floor(math.log(delta) / math.log1p(-alpha)))
    while pac_rank(n, alpha, delta) == 0:
        n += 1
    return n


@dataclass(frozen=True, slots=True)
class Calibration:
    """Scores of held-out rows and the rank that was chosen among them."""

    scores: NDArray[np.float64]  # (n,), ascending
    rank: int
    guarantee: Guarantee

    @classmethod
    def of(cls, scores: Vector, *, alpha: float, delta: float, guard: str) -> "Calibration":
        """Calibrate on the scores of rows that the detector was not fitted on.

        Raises:
            CalibrationTooSmallError: ``guard`` could never keep its promise.
        """
        n = len(scores)
        rank = pac_rank(n, alpha, delta)
        if rank == 0:
            raise CalibrationTooSmallError(guard, needed(alpha, delta), n, alpha, delta)
        ordered = np.sort(np.asarray(scores, np.float64))
        return cls(ordered, rank, Guarantee(alpha=alpha, delta=delta, n=n, mode="pac"))

    @property
    def threshold(self) -> float:
        """Largest p-value that counts as strange.

        ``p <= threshold`` holds exactly when the score lies strictly above the
        r-th largest calibration score.  Strictly: with tied scores, `>=` would
        block the whole tie and break the promise.
        """
        return self.rank / (len(self.scores) + 1)

    def p_values(self, scores: Vector) -> NDArray[np.float64]:
        """Rank each score among the calibration scores; +inf gets the smallest p."""
        n = len(self.scores)
        at_least = n - self.scores.searchsorted(scores, side="left")
        return (1 + at_least) / (n + 1)
