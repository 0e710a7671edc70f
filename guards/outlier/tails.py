"""How far out a row lies, one column at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from guards.verdict import Rows

FAR_SIGMAS = 50.0  # beyond this a distance says nothing more, and float32 starts to lose digits
RANGE_SIGMAS = 6.0  # a column is never narrower than a sixth of its range
ONE_UNIT = 4.0  # how much wider than most columns the widest may be, if all are in one unit
ROUNDING = 2.0**-23  # spacing of float32: a copy of a constant may be off by that share


@dataclass(frozen=True, slots=True)
class Scales:
    """Centre, spread and reach of every reference column.

    One row in a thousand holds a 3 where all others hold 0: by the standard
    deviation alone that ordinary row would lie 30 sigma out and set the threshold
    for all.  So the spread is at least a sixth of the range, and a column that
    never moved can put a row 6 sigma out and no further.

    The pixels of an image share one spread.  Were each measured by its own, the
    corners that are rarely lit would weigh as much as the strokes and drown them.
    """

    centre: NDArray[np.float64]  # (d,)
    spread: NDArray[np.float64]  # (d,), never 0
    reach: NDArray[np.float64]  # (d,), largest |z| that counts

    @classmethod
    def fit(cls, reference: Rows, tensors: Sequence[slice] = ()) -> Self:
        """Learn the scales of reference rows, shape (n, d); NaN is a missing value.

        Columns of one tensor share their spread, unless their ranges are too
        unlike to be in one unit: a table without column names is a tensor, too.
        """
        centre, deviation, width = _moments(np.asarray(reference, np.float64))
        spread = np.maximum(deviation, width / RANGE_SIGMAS)
        for columns in tensors:
            if width[columns].max() <= ONE_UNIT * np.median(width[columns]):
                spread[columns] = np.sqrt((deviation[columns] ** 2).mean())
        rounding = ROUNDING * np.maximum(np.abs(centre), ROUNDING)
        still = spread <= rounding
        return cls(
            centre,
            np.where(still, rounding, spread),
            np.where(still, RANGE_SIGMAS, FAR_SIGMAS),
        )

    def standardise(self, rows: Rows) -> NDArray[np.float64]:
        """Express rows in spreads from the centre; not finite where ``rows`` are not."""
        return np.asarray((rows - self.centre) / self.spread)

    def limit(self, standard: NDArray[np.float64]) -> NDArray[np.float64]:
        """Cut standardised rows off at the reach."""
        return np.asarray(np.maximum(np.minimum(standard, self.reach), -self.reach))


def _moments(
    rows: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Find mean, standard deviation and range of each column, of what is there; else 0."""
    if np.isfinite(rows).all():
        return rows.mean(axis=0), rows.std(axis=0), np.ptp(rows, axis=0)
    is_there = ~np.isnan(rows)
    count = np.maximum(is_there.sum(axis=0), 1)
    centre = np.where(is_there, rows, 0).sum(axis=0) / count
    deviation = np.sqrt(np.where(is_there, (rows - centre) ** 2, 0).sum(axis=0) / count)
    most = np.where(is_there, rows, -np.inf).max(axis=0)
    least = np.where(is_there, rows, np.inf).min(axis=0)
    return centre, deviation, np.where(is_there.any(axis=0), most - least, 0.0)


def largest_tail(standard: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find max |z| of each row, shape (n,)."""
    return np.asarray(np.abs(standard).max(axis=1))
