"""From scores to p-values and to a threshold with a finite-sample promise.

Source: Bates, Candès, Lei, Romano, Sesia (2023), "Testing for outliers with
conformal p-values", Annals of Statistics 51(1): the calibration-conditional
(PAC) bound, here in its exact form for one threshold; Barber, Candès, Ramdas, Tibshirani (2021),
"Predictive inference with the jackknife+", Annals of Statistics 49(1), for cross-fitted scores.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from guards.errors import CalibrationTooSmallError
from guards.verdict import Guarantee, Mode, Vector

ROUNDING = 1e-12  # 0.29 * 100 is 28.999...: the rank is meant to be 29
CROSS_FACTOR = 2  # what cross-fitting may cost at worst


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


def marginal_rank(n: int, alpha: float) -> int:
    """Choose the rank with which an ordinary row is judged strange with chance ``alpha`` at most.

    On average over calibration draws: of one draw nothing is promised, and about
    half of them exceed ``alpha``.  0 when not even the largest score is far enough out.
    """
    return math.floor(alpha * (n + 1) * (1 + ROUNDING))


def needed(alpha: float, delta: float) -> int:
    """Count the calibration rows without which no threshold keeps the PAC promise."""
    n = max(1, math.floor(math.log(delta) / math.log1p(-alpha)))
    while pac_rank(n, alpha, delta) == 0:
        n += 1
    return n


@dataclass(frozen=True, slots=True)
class Aim:
    """What a threshold is to promise.

    - ``pac``: at most ``alpha``, with probability ``1 - delta`` over the calibration draw.
    - ``marginal``: at most ``alpha`` on average over calibration draws.
    - ``cross``: the scores come from cross-fitting, and the promise is 2 ``alpha`` on
      average, although about ``alpha`` is what is usually seen.

    Two-sided, a score that is far too small is strange as well; each side gets half.
    """

    alpha: float
    delta: float
    mode: Mode = "pac"
    two_sided: bool = False

    @property
    def sides(self) -> int:
        """How many ends of the scores are strange."""
        return 2 if self.two_sided else 1

    def rank(self, n: int) -> int:
        """Choose the rank among ``n`` scores, for each side."""
        if self.mode == "pac":
            return pac_rank(n, self.alpha / self.sides, self.delta / self.sides)
        return marginal_rank(n, self.alpha / self.sides)

    def needed(self) -> int:
        """Count the calibration rows without which no threshold keeps the promise."""
        if self.mode == "pac":
            return needed(self.alpha / self.sides, self.delta / self.sides)
        n = max(1, math.floor(self.sides / self.alpha) - 2)
        while marginal_rank(n, self.alpha / self.sides) == 0:
            n += 1
        return n

    def guarantee(self, n: int) -> Guarantee:
        """State the promise."""
        if self.mode == "pac":
            return Guarantee(self.alpha, self.delta, n, "pac")
        factor = CROSS_FACTOR if self.mode == "cross" else 1
        return Guarantee(min(1.0, factor * self.alpha), 1.0, n, self.mode)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Scores of rows that the detector was not fitted on, and the rank chosen among them."""

    scores: NDArray[np.float64]  # (n,), ascending
    rank: int
    guarantee: Guarantee
    sides: int = 1

    @classmethod
    def of(
        cls,
        scores: Vector,
        *,
        alpha: float,
        delta: float,
        guard: str,
        mode: Mode = "pac",
        two_sided: bool = False,
    ) -> "Calibration":
        """Calibrate on the scores of rows that the detector was not fitted on.

        Raises:
            CalibrationTooSmallError: ``guard`` could never keep its promise.
        """
        n, aim = len(scores), Aim(alpha, delta, mode, two_sided)
        rank = aim.rank(n)
        if rank == 0:
            raise CalibrationTooSmallError(guard, aim.needed(), n, alpha, delta)
        ordered = np.sort(np.asarray(scores, np.float64))
        return cls(ordered, rank, aim.guarantee(n), aim.sides)

    @property
    def threshold(self) -> float:
        """Largest p-value that counts as strange.

        ``p <= threshold`` holds exactly when the score lies strictly above the
        r-th largest calibration score (two-sided: or below the r-th smallest).  Strictly: with
        tied scores, `>=` would block the whole tie and break the promise.
        """
        return self.sides * self.rank / (len(self.scores) + 1)

    def p_values(
        self, scores: Vector, *, draws: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Rank each score among the calibration scores; +inf gets the smallest p.

        Args:
            scores: Shape (n,).
            draws: One uniform number per score breaks ties at random, which makes p-values of
                ordinary rows exactly uniform also where scores are discrete; None counts ties
                as stranger, which is conservative and the same every time.
        """
        n = len(self.scores)
        before = self.scores.searchsorted(scores, side="left")
        if draws is not None:
            tied = self.scores.searchsorted(scores, side="right") - before
            high = (n - before - tied + draws * (tied + 1)) / (n + 1)
            return np.asarray(high if self.sides == 1 else 2 * np.minimum(high, 1 - high))
        high = (n + 1 - before) / (n + 1)
        if self.sides == 1:
            return np.asarray(high)
        low = (1 + self.scores.searchsorted(scores, side="right")) / (n + 1)
        return np.asarray(np.minimum(2 * np.minimum(high, low), 1.0))
