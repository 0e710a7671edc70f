"""How far a row lies from the nearest class, beyond how far it lies from all rows.

Source: Ren et al. (2021), "A simple fix to Mahalanobis distance for improving near-OOD
detection" (RMDS).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from guards.outlier.whitening import Basis

MIN_CLASS_ROWS = 2  # fewer have no mean worth a name


@dataclass(frozen=True, slots=True)
class Classwise:
    """Relative Mahalanobis distance, with one covariance shared by all classes."""

    within: NDArray[np.float64]  # (m, m), takes a row to where classes have unit covariance
    means: NDArray[np.float64]  # (m, classes), of the classes, there
    lengths: NDArray[np.float64]  # (classes,), squared
    overall: NDArray[np.float64]  # (m,), 1 / variance of all rows along each axis

    @classmethod
    def fit(cls, points: NDArray[np.float64], classes: NDArray[np.intp], basis: Basis) -> Self:
        """Learn from rows in principal coordinates (n, m) and the class of each, (n,)."""
        found, at, count = np.unique(classes, return_inverse=True, return_counts=True)
        sums = np.zeros((len(found), points.shape[1]))
        np.add.at(sums, at, points)
        means = sums / count[:, None]
        inside = Basis.fit(points - means[at])  # shrunk where a class has few rows
        within = inside.axes / np.sqrt(inside.variances)
        kept = means[count >= min(MIN_CLASS_ROWS, count.max())] @ within
        return cls(
            within,
            np.ascontiguousarray(kept.T),
            (kept**2).sum(axis=1),
            1 / basis.variances,
        )

    def measure(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Measure rows in principal coordinates (n, m): (n,); one product per row."""
        here = np.matmul(points[:, None, :], self.within)
        nearest = (self.lengths - 2 * np.matmul(here, self.means)[:, 0, :]).min(axis=1)
        nearest += np.matmul(here, here.transpose(0, 2, 1))[:, 0, 0]
        squares = points * points
        return np.asarray(nearest - np.matmul(squares[:, None, :], self.overall)[:, 0])
