"""How a row lies among its neighbours: how far from them, and how close they are to each other.

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

FOLD = 16  # layers per fold of the search for the smallest
PADDED = 256  # reference rows are filled up to a multiple of it, so that they fold evenly
SPARE = 3  # candidates beyond k, so that rounding of the fast pass cannot lose a neighbour
BLOCK_ROWS = 64  # 64 rows x 4,096 distances = 1 MiB: stays in cache
NEVER = np.float32(1e30)  # squared length of padding; finite because 0 * inf is NaN
# A reference row that stands alone is a poor neighbour: it counts as further away by this share
# of its spacing.  That also decides between neighbours at one distance, as integers often are;
# no simple fraction, or integers would tie again.
SOLITUDE = 0.37
SOFTENING = 0.5  # of the mean spacing: keeps the ratio of two tiny distances among duplicates small

MEASURES = ("distance", "whitened_distance", "ratio", "whitened_ratio")


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Compares rows with their nearest reference rows, plain and whitened, in one search.

    A distance alone misses the row that is strange by standing where rows are
    dense: a blank image is nearer to digits than many a digit, but nowhere near
    as close as digits of its kind are to each other.  So the spacing of the
    neighbours is taken from it (the excess), and it is divided by that (the ratio).

    In principal coordinates every metric only weighs the axes.  Neighbours are
    searched half-whitened (each axis divided by the fourth root of its variance), the
    geometric middle of the two metrics in which they are then measured: one pass over the
    reference instead of two.

    |q - r|² = |q|² - 2 q·r + |r|², where the last two terms come out of one float32
    product and |q|² does not matter to who is nearest.  The few candidates found
    that way are measured again in float64: no cancellation, and no dependence on
    the rest of the batch.
    """

    points: NDArray[np.float32]  # (N, m), reference in principal coordinates
    weights: NDArray[np.float64]  # (m, 3), squared scale of each axis: searched, plain, whitened
    spacing: NDArray[np.float64]  # (N, 3), mean squared distance to its own k neighbours
    softening: NDArray[np.float64]  # (2,), plain and whitened, added to both sides of the ratio
    k: int
    search: NDArray[np.float32]  # (m + 1, N padded), -2 r; squared length with SOLITUDE added

    @classmethod
    def fit(cls, points: NDArray[np.floating], basis: Basis, *, k: int) -> Self:
        """Learn the spacing of reference rows given in principal coordinates, shape (N, m)."""
        unspaced = cls.build(points, basis, spacing=np.zeros((len(points), 3)), k=k)
        spacing = np.ascontiguousarray(unspaced._between()[:, :3])
        return cls.build(points, basis, spacing=spacing, k=k)

    @classmethod
    def build(
        cls,
        points: NDArray[np.floating],
        basis: Basis,
        *,
        spacing: NDArray[np.float64],
        k: int,
        search: NDArray[np.float32] | None = None,
    ) -> Self:
        """Index reference rows whose spacing is known; ``search`` is theirs, if that is known.

        Raises:
            ValueError: ``search`` is that of other rows.
        """
        kept = np.ascontiguousarray(points, np.float32)
        whitened = 1 / basis.variances
        weights = np.stack([np.sqrt(whitened), np.ones_like(whitened), whitened], axis=1)
        if search is None:
            search = _index(kept.astype(np.float64), weights[:, 0], spacing[:, 0])
        elif search.shape != (kept.shape[1] + 1, _padded(len(kept))):
            raise ValueError(f"no index of rows {kept.shape}: {search.shape}")
        softening = np.maximum(SOFTENING * spacing[:, 1:].mean(axis=0), np.finfo(np.float32).tiny)
        return cls(kept, weights, spacing, softening, k, search)

    def measure(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Measure rows in principal coordinates (n, m): (4, n), in the order of `MEASURES`."""
        if len(points) <= BLOCK_ROWS:
            return self._compared(self._sums(points))
        starts = range(0, len(points), BLOCK_ROWS)
        blocks = [self._sums(points[start : start + BLOCK_ROWS]) for start in starts]
        return self._compared(np.concatenate(blocks))

    def measure_between(self) -> NDArray[np.float64]:
        """Measure the reference rows themselves, each without itself: (4, N)."""
        return self._compared(self._between())

    def _compared(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn `_sums` into excess and ratio."""
        measures = np.empty((4, len(sums)))
        distance, spacing = sums[:, 1:3].T, sums[:, 4:].T
        np.subtract(distance, spacing, out=measures[:2])
        soft = self.softening[:, None]
        np.divide(distance + soft, spacing + soft, out=measures[2:])
        return measures

    def _between(self) -> NDArray[np.float64]:
        points = self.points.astype(np.float64)
        found = np.empty((len(points), 6))
        for start in range(0, len(points), BLOCK_ROWS):
            itself = np.arange(start, min(start + BLOCK_ROWS, len(points)))
            found[itself] = self._sums(points[itself], itself=itself)
        return found

    def _sums(
        self, points: NDArray[np.float64], *, itself: NDArray[np.intp] | None = None
    ) -> NDArray[np.float64]:
        """Average over the neighbours of each row: (n, 6), squared distances, then spacings."""
        n, m = points.shape
        query = np.empty((n, m + 1), np.float32)
        np.multiply(points, self.weights[:, 0], out=query[:, :m], casting="same_kind")
        query[:, m] = 1
        count = self.k + SPARE + (itself is not None)
        near = smallest(query @ self.search, count)
        gaps = points[:, None, :] - self.points.take(near, axis=0)
        gaps *= gaps
        found = np.empty((n, count, 6))
        np.matmul(gaps, self.weights, out=found[:, :, :3])
        found[:, :, 3:] = self.spacing.take(near, axis=0)
        rank = found[:, :, 0] + SOLITUDE * found[:, :, 3]
        if itself is not None:
            rank[near == itself[:, None]] = np.inf
        # Sorted, not only selected: the order of a sum decides its last bit.
        order = rank.argsort(axis=1)[:, : self.k]
        if n > 1:
            order += np.arange(0, n * count, count)[:, None]
        total = np.add.reduce(found.reshape(n * count, 6).take(order, axis=0), axis=1)
        total /= self.k
        return np.asarray(total)


def _padded(n: int) -> int:
    return -(-n // PADDED) * PADDED


def _index(
    exact: NDArray[np.float64], weights: NDArray[np.float64], spacing: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Lay out reference rows (N, m) for the search."""
    n, m = exact.shape
    search = np.zeros((m + 1, _padded(n)), np.float32)
    search[:m, :n] = -2 * exact.T
    search[m, :n] = exact**2 @ weights + SOLITUDE * spacing
    search[m, n:] = NEVER
    return search


def smallest(values: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Find where the ``count`` smallest of each row stand, in no order.

    Folds each row into layers and takes the minimum across them: the smallest
    values all stand in the columns with the smallest minima, so only those
    columns are unfolded and sorted through.
    """
    n, width = values.shape
    columns = width // FOLD
    if columns < 2 * count or width % FOLD:
        return np.asarray(values.argpartition(count - 1, axis=1)[:, :count])
    minima = np.minimum.reduce(values.reshape(n, FOLD, columns), axis=1)
    found = minima.argpartition(count - 1, axis=1)[:, :count]
    members = (found[:, None, :] + np.arange(0, width, columns)[:, None]).reshape(n, FOLD * count)
    if n == 1:
        best = values.take(members).argpartition(count - 1, axis=1)[:, :count]
        return np.asarray(members.take(best))
    flat = members + np.arange(0, n * width, width)[:, None]
    best = values.take(flat).argpartition(count - 1, axis=1)[:, :count]
    best += np.arange(0, n * FOLD * count, FOLD * count)[:, None]
    return np.asarray(members.take(best))
