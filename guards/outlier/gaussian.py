"""How a row lies to the Gaussian of the reference: within its main axes, and outside them.

Source: Wang et al. (2022), "ViM: Out-of-distribution with virtual-logit matching", CVPR, for the
residual outside the main axes; Mahalanobis (1936) for the distance within.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from guards.outlier.whitening import Basis

MAIN_SHARE = 0.9  # of the variance lies along the main axes
FLOOR = 1e-3  # of the mean residual: a smaller one is as good as none

MEASURES = ("residual", "mahalanobis")


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Measures what the main axes leave over, and the distance along them.

    The residual is two-sided.  A blank or a blurred image leaves too little over: a
    one-sided residual ranks it below every ordinary row, although nothing is easier to tell.
    """

    readers: NDArray[np.float64]  # (m, 2), what to make of squared coordinates: residual, distance
    floor: float  # squared; added to the residual before its logarithm
    centre: float  # median log residual of the reference
    is_cut: bool  # there are directions that the basis has no axis for

    @classmethod
    def fit(cls, points: NDArray[np.float64], standard: NDArray[np.float64], basis: Basis) -> Self:
        """Learn from reference rows, in principal coordinates (n, m) and standardised (n, d)."""
        d, m = basis.axes.shape
        falling = basis.variances[::-1]  # of the axes, which rise
        total = falling.sum() + (d - m) * basis.rest
        main = 1 + int(np.searchsorted(np.cumsum(falling), MAIN_SHARE * total))
        main = min(main, max(1, m - 1))
        is_main = np.arange(m) >= m - main
        readers = np.stack([~is_main, is_main / basis.variances], axis=1).astype(np.float64)
        blank = cls(readers, 0.0, 0.0, is_cut=d > m)
        residual = blank.squared(points, standard)[:, 0]
        floor = FLOOR * float(residual.mean()) + float(np.finfo(np.float32).tiny)
        return cls(readers, floor, float(np.median(np.log(residual + floor))), blank.is_cut)

    def measure(
        self, points: NDArray[np.float64], standard: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Measure rows given in both ways: (2, n), in the order of `MEASURES`."""
        return self.compare(self.squared(points, standard))

    def compare(self, squared: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn `squared` (n, 2) into measures (2, n)."""
        squared = squared.T.copy()
        residual = squared[0]
        residual += self.floor
        np.log(residual, out=residual)
        residual -= self.centre
        np.abs(residual, out=residual)
        return squared

    def squared(
        self, points: NDArray[np.float64], standard: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Sum squares outside and along the main axes, (n, 2); one product per row."""
        squares = points * points
        found = np.matmul(squares[:, None, :], self.readers)[:, 0, :]
        if self.is_cut:
            length = np.matmul(standard[:, None, :], standard[:, :, None])[:, 0, 0]
            found[:, 0] += np.maximum(length - squares.sum(axis=1), 0)
        return np.asarray(found)
