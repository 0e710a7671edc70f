"""Several scores made one, so that a row is judged once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-12  # of the largest score: what varies less varies by rounding
SHARPNESS = 2  # LSE2: near the maximum, so one blind detector cannot outvote one that sees


@dataclass(frozen=True, slots=True)
class Mixture:
    """Puts scores on one scale and takes their soft maximum.

    Each is standardised as arcsinh((s - median) / (q90 - median)): linear for
    ordinary rows, logarithmic in the tail, so no unit and no outlier dominates.
    """

    median: NDArray[np.float64]  # (components, 1)
    spread: NDArray[np.float64]  # (components, 1), q90 - median, never 0

    @classmethod
    def fit(cls, scores: NDArray[np.float64]) -> "Mixture":
        """Learn the scales from ordinary rows; scores have shape (components, n)."""
        median, q90 = np.quantile(scores, (0.5, 0.9), axis=1, keepdims=True)
        spread = q90 - median
        # A component that hardly varies says little in its own unit: fall back on its size.
        flat = spread <= ROUNDING * np.abs(scores).max(axis=1, keepdims=True)
        return cls(median, np.where(flat, np.maximum(np.abs(median), 1.0), spread))

    def score(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mix (components, n) of at most 1e150 spreads into (n,); larger is stranger."""
        # exp(2 arcsinh x) = (x + sqrt(1 + x²))²: neither arcsinh nor exponential is needed.
        standard = scores - self.median
        standard /= self.spread
        grown = standard * standard
        grown += 1
        np.sqrt(grown, out=grown)
        grown += standard
        grown *= grown
        total = np.log(np.add.reduce(grown, axis=0) / len(scores))
        total /= SHARPNESS
        return np.asarray(total)
