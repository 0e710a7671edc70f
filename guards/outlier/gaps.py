"""Values that are missing where the reference had missing values, too."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from guards.verdict import Rows


@dataclass(frozen=True, slots=True)
class Gaps:
    """Fills a gap with the middle of its column, if the reference had gaps there.

    Where it had none, a row with a gap is broken, as one that holds an infinity is anywhere.
    """

    may_miss: NDArray[np.bool_]  # (d,)
    fill: NDArray[np.float64]  # (d,), median in spreads; 0 where nothing ever stood

    @classmethod
    def fit(cls, reference: Rows, standard: NDArray[np.float64]) -> Self:
        """Learn from reference rows (n, d), raw and standardised."""
        absent = np.isnan(reference)
        may_miss = np.asarray(absent.any(axis=0))
        fill = np.zeros(standard.shape[1])
        for column in np.flatnonzero(may_miss & ~absent.all(axis=0)):
            fill[column] = np.median(standard[~absent[:, column], column])
        return cls(may_miss, fill)

    def usable(self, rows: Rows) -> NDArray[np.bool_]:
        """Find the rows that hold nothing worse than gaps where gaps may be."""
        return np.asarray((np.isfinite(rows) | (np.isnan(rows) & self.may_miss)).all(axis=1))

    def mend(
        self, standard: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Fill standardised rows (n, d); say where, (n, d), and which rows are broken, (n,)."""
        absent = np.isnan(standard) & self.may_miss
        broken = np.asarray(~(np.isfinite(standard) | absent).all(axis=1))
        mended = np.where(absent, self.fill, standard)
        mended[broken] = 0.0
        return mended, absent, broken
