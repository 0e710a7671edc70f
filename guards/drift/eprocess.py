"""From bets to evidence: an e-process since the beginning, and an e-detector with a run length.

- The e-process multiplies wealth since the beginning.  While nothing drifts it ever reaches
  1/alpha with probability at most alpha (Ville's inequality).
- The e-detector starts a new bet at every tick and adds their wealths: ``R <- (R + 1) e``.  While
  nothing drifts, ``R - ticks`` has no upward trend, so the mean number of ticks until R reaches
  A is at least A: that is the average run length (ARL), and P(alarm within t ticks) <= t / A.
  It is never below the e-CUSUM ``M <- max(M, 1) e``, whose run length has the same bound, and so
  alarms no later.

Source: Shin, Ramdas and Rinaldo (2024), "E-detectors: a nonparametric framework for sequential
change detection", section 2.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Grid = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Wealth:
    """What every bet on every channel has become, in nats; the last axis are the bets."""

    tick: int  # ticks with traffic so far
    log_process: Grid  # since the beginning
    log_detector: Grid  # -inf before the first tick
    log_started: Grid  # of the sum over bets of start tick times wealth

    @classmethod
    def begin(cls, shape: tuple[int, ...]) -> "Wealth":
        """Stake 1 on every bet of an array of this shape."""
        nothing = np.full(shape, -np.inf)
        return cls(0, np.zeros(shape), nothing, nothing)

    def grow(self, gains: Grid) -> "Wealth":
        """Settle one tick."""
        tick = self.tick + 1
        return Wealth(
            tick,
            self.log_process + gains,
            np.logaddexp(self.log_detector, 0.0) + gains,
            np.logaddexp(self.log_started, np.log(tick)) + gains,
        )

    def capped(self, log_stakes: Grid, ceiling: Grid) -> "Wealth":
        """Give away what a channel's detector has beyond ``ceiling``, all its bets in proportion.

        Less wealth is still fair, and an alarm ends soon after the drift does.
        """
        excess = np.maximum(mixture(log_stakes, self.log_detector) - ceiling, 0.0)[..., None]
        return replace(
            self, log_detector=self.log_detector - excess, log_started=self.log_started - excess
        )

    def started(self) -> Grid:
        """Estimate the tick at which drift began, by bet: the posterior mean under a flat prior."""
        return np.exp(self.log_started - self.log_detector)


def mixture(log_stakes: Grid, log_wealth: Grid) -> Grid:
    """Log wealth of a portfolio: the last axis are its bets, the stakes sum to 1."""
    found: Grid = logsumexp(log_stakes + log_wealth, axis=-1)
    return found


def e_bh(log_e: Grid, *, alpha: float) -> NDArray[np.bool_]:
    """Say which of several e-values are discoveries, with false discovery rate at most ``alpha``.

    Valid under any dependence.

    Source: Wang and Ramdas (2022), "False discovery rate control with e-values", JRSS-B 84(3).
    """
    m = len(log_e)
    order = np.argsort(-log_e, kind="stable")
    passes = log_e[order] >= np.log(m / (alpha * np.arange(1, m + 1)))
    found = np.zeros(m, bool)
    if passes.any():
        found[order[: int(np.flatnonzero(passes)[-1]) + 1]] = True
    return found
