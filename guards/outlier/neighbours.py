"""How much further a row lies from its neighbours than they lie from theirs.

Sources: Livernoche et al. (2024), "On diffusion modeling for anomaly detection",
ICLR: mean squared distance to the nearest reference rows; Breunig et al. (2000),
"LOF: identifying density-based local outliers", SIGMOD: compared with what is
usual around those rows.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from guards.outlier.whitening import Basis

FOLD = 4  # layers per fold of the search for the smallest; no slower than 8, faster than 16
PADDED = 64  # reference rows are filled up to a multiple of it, so that they fold evenly
SPARE = 3  # candidates beyond k, so that rounding of the fast pass cannot lose a neighbour
BLOCK_ROWS = 64  # 64 rows x 2 spaces x 4,096 distances = 2 MiB: stays in cache
ONE_PASS_ROWS = 4  # so few rows are sorted through faster than grouped
NEVER = np.float32(1e30)  # squared length of padding; finite because 0 * inf is NaN
# A reference row that stands alone is a poor neighbour: it counts as further away by this share
# of its spacing.  That also decides between neighbours at one distance, as integers often are;
# no simple fraction, or integers would tie again.
SOLITUDE = 0.37
SPACES = np.arange(2)[:, None, None]  # plain, whitened: picks the spacing that goes with each


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Compares rows with nearest reference rows, in two spaces with one matrix product.

    A distance alone misses the row that is strange by standing where rows are
    dense: a blank image is nearer to digits than many a digit, but nowhere near
    as close as digits of its kind are to each other.  Subtracted, not divided:
    among duplicates the spacing is 0.

    In principal coordinates the whitened distance only rescales each axis, so
    the same reference serves both: |q - r|² = |q|² - 2 q·r + |r|², where the
    last two terms come out of one float32 product and |q|² does not matter to
    who is nearest.  The few candidates found that way are measured again in
    float64: no cancellation, and no dependence on the rest of the batch.
    """

    points: NDArray[np.float32]  # (N, m), reference in principal coordinates
    weights: NDArray[np.float64]  # (2, m), squared scale of each axis: plain, whitened
    spacing: NDArray[np.float64]  # (2, N), mean squared distance to its own k neighbours
    k: int
    search: NDArray[np.float32]  # (m + 2, N padded), -2 r; both squared lengths, SOLITUDE added

    @classmethod
    def fit(cls, points: NDArray[np.floating], basis: Basis, *, k: int) -> Self:
        """Learn the spacing of reference rows given in principal coordinates, shape (N, m)."""
        unspaced = cls.build(points, basis, spacing=np.zeros((2, len(points))), k=k)
        return cls.build(points, basis, spacing=unspaced.excess_between(), k=k)

    @classmethod
    def build(
        cls, points: NDArray[np.floating], basis: Basis, *, spacing: NDArray[np.float64], k: int
    ) -> Self:
        """Index reference rows whose spacing is known."""
        kept = np.ascontiguousarray(points, np.float32)
        weights = np.stack([np.ones_like(basis.variances), 1 / basis.variances])
        exact = kept.astype(np.float64)
        n, m = kept.shape
        search = np.zeros((m + 2, -(-n // PADDED) * PADDED), np.float32)
        search[:m, :n] = -2 * exact.T
        search[m:, :n] = weights @ (exact**2).T + SOLITUDE * spacing
        search[m:, n:] = NEVER
        return cls(kept, weights, spacing, k, search)

    def excess(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Measure rows in principal coordinates (n, m): (2, n), plain and whitened."""
        found = np.empty((2, len(points)))
        for start in range(0, len(points), BLOCK_ROWS):
            block = points[start : start + BLOCK_ROWS]
            found[:, start : start + BLOCK_ROWS] = self._excess(block)
        return found

    def excess_between(self) -> NDArray[np.float64]:
        """Measure the reference rows themselves, each without itself: (2, N)."""
        points = self.points.astype(np.float64)
        found = np.empty((2, len(points)))
        for start in range(0, len(points), BLOCK_ROWS):
            itself = np.arange(start, min(start + BLOCK_ROWS, len(points)))
            found[:, itself] = self._excess(points[itself], itself=itself)
        return found

    def _excess(
        self, points: NDArray[np.float64], *, itself: NDArray[np.intp] | None = None
    ) -> NDArray[np.float64]:
        n, m = points.shape
        query = np.zeros((2, n, m + 2), np.float32)
        np.multiply(points, self.weights[:, None, :], out=query[:, :, :m], casting="same_kind")
        query[0, :, m] = 1
        query[1, :, m + 1] = 1
        count = self.k + SPARE + (itself is not None)
        near = _smallest(query.reshape(2 * n, m + 2) @ self.search, count).reshape(2, n, count)
        gaps = points[None, :, None, :] - self.points[near]
        squared = np.einsum("snkm,snkm,sm->snk", gaps, gaps, self.weights)
        if itself is not None:
            squared[near == itself[:, None]] = np.inf
        spacing = self.spacing[SPACES, near]
        # Sorted, not only selected: the order of a sum decides its last bit.
        nearest = (squared + SOLITUDE * spacing).argsort(axis=2)[:, :, : self.k]
        excess = (squared - spacing)[SPACES, np.arange(n)[:, None], nearest]
        return np.asarray(excess.sum(axis=2) / self.k)


def _smallest(values: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Find where the ``count`` smallest of each row stand, in no order.

    Folds each row into layers and takes the minimum across them: the smallest
    values all stand in the columns with the smallest minima, so only those
    columns are unfolded and sorted through.
    """
    n, width = values.shape
    columns = width // FOLD
    if n <= ONE_PASS_ROWS or columns < count or width % FOLD:
        return np.asarray(values.argpartition(count - 1, axis=1)[:, :count])
    found = _smallest(values.reshape(n, FOLD, columns).min(axis=1), count)
    layers = np.arange(FOLD)[:, None] * columns
    members = (found[:, None, :] + layers).reshape(n, FOLD * count)
    starts = np.arange(n)[:, None] * width
    best = values.take(members + starts).argpartition(count - 1, axis=1)[:, :count]
    return np.asarray(members.take(best + np.arange(n)[:, None] * (FOLD * count)))
