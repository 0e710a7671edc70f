"""Reference rows most like a row, and in what it differs from them."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from guards.outlier.whitening import Basis

SPARE = 3  # candidates beyond those wanted, so that rounding of the fast pass cannot lose one


@dataclass(frozen=True, slots=True)
class Similar:
    """Finds nearest reference rows, one row at a time; beyond the axes they are all alike."""

    basis: Basis
    points: NDArray[np.float32]  # (N, m), reference in principal coordinates
    squared: NDArray[np.float32]  # (N,), their squared lengths
    count: int

    @classmethod
    def of(cls, basis: Basis, points: NDArray[np.float32], *, count: int) -> Self:
        """Search among ``points``, of which ``count`` are nearest."""
        return cls(basis, points, np.einsum("nm,nm->n", points, points), min(count, len(points)))

    def nearest(self, standard: NDArray[np.float64]) -> NDArray[np.intp]:
        """Find the rows most like a standardised row, shape (d,); the nearest comes first."""
        at = standard @ self.basis.axes
        rough = self.squared - 2 * (self.points @ at.astype(np.float32))
        most = min(self.count + SPARE, len(rough))
        near = np.argpartition(rough, most - 1)[:most]
        squared = ((self.points[near] - at) ** 2).sum(axis=1)  # in float64: no cancellation
        return np.asarray(near[np.lexsort((near, squared))][: self.count])

    def rows(self, picked: NDArray[np.intp]) -> NDArray[np.float64]:
        """Give reference rows in standardised units, shape (picked, d)."""
        return np.asarray(self.points[picked] @ self.basis.axes.T)
