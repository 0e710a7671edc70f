"""How rare the values of a row are, each column by itself, added up.

Source: Li et al. (2022), "ECOD: unsupervised outlier detection using empirical cumulative
distribution functions", TKDE, for summed tail probabilities.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from guards.outlier.tails import FAR_SIGMAS

CELLS = 256  # per column; one more stands for a missing value
FEW_VALUES = 32  # a column with no more distinct values is judged by how often each occurs
ROWS_PER_VALUE = 8  # and only where that many rows tell how often
UNSEEN = 0.5  # counts of a value that the reference does not hold
QUARTILES_SIGMAS = 1.349  # between the quartiles of a Gaussian


@dataclass(frozen=True, slots=True)
class Rarity:
    """Looks up -log of the two-sided empirical tail of each value, or of how often it occurs.

    The tails are tabulated over cells that are narrow where most values lie and grow towards
    both ends, so that a row costs one look-up and no search.  A column of few distinct values
    has no tails: there the frequency counts, and an unseen value is the rarest.  A
    missing value is as rare as missing values were in that column.
    """

    middle: NDArray[np.float64]  # (d,), median, in spreads
    steep: NDArray[np.float64]  # (d,), 1 / robust spread
    cells: NDArray[np.float64]  # (d,), per unit of arcsinh; few enough to hold the reach
    table: NDArray[np.float32]  # (d, CELLS + 1)

    @classmethod
    def fit(cls, standard: NDArray[np.float64], absent: NDArray[np.bool_]) -> Self:
        """Count the values of standardised reference rows (n, d) and where none stood."""
        low, middle, high = np.quantile(standard, (0.25, 0.5, 0.75), axis=0)
        spread = (high - low) / QUARTILES_SIGMAS
        spread = np.where(spread > 0, spread, np.maximum(standard.std(axis=0), 1e-3))
        steep = 1 / spread
        unit = (CELLS / 2 - 1) / np.arcsinh((FAR_SIGMAS + np.abs(middle)) * steep)
        table = np.empty((len(middle), CELLS + 1), np.float32)
        blank = cls(middle, steep, unit, table)
        cells = blank._places(standard) - blank._starts
        columns = [
            _rarities(cells[~gone, at], standard[~gone, at], len(standard))
            for at, gone in enumerate(absent.T)
        ]
        return cls(middle, steep, unit, np.array(columns, np.float32))

    def measure(
        self, standard: NDArray[np.float64], absent: NDArray[np.bool_] | None
    ) -> NDArray[np.float64]:
        """Add up the rarity of each row's values, shape (n,)."""
        places = self._places(standard)
        if absent is not None:
            places = np.where(absent, self._starts + CELLS, places)
        return np.asarray(np.add.reduce(self.table.take(places), axis=1, dtype=np.float64))

    @property
    def _starts(self) -> NDArray[np.intp]:
        """Where each column begins in the table."""
        return np.arange(0, self.table.size, CELLS + 1)

    def _places(self, standard: NDArray[np.float64]) -> NDArray[np.intp]:
        place = standard - self.middle
        place *= self.steep
        np.arcsinh(place, out=place)
        place *= self.cells
        place += np.arange(CELLS / 2, self.table.size, CELLS + 1)
        return place.astype(np.intp)


def _rarities(
    cells: NDArray[np.intp], values: NDArray[np.float64], rows: int
) -> NDArray[np.float64]:
    """Tabulate one column: shape (CELLS + 1,)."""
    counts = np.bincount(cells, minlength=CELLS)[:CELLS]
    distinct = len(np.unique(values))
    if distinct <= FEW_VALUES and ROWS_PER_VALUE * distinct <= len(values):
        share = np.maximum(counts, UNSEEN) / (len(values) + 1)
    else:
        below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
        share = 2 * np.maximum(np.minimum(below, above), UNSEEN / 2) / (len(values) + 1)
    missing = (rows - len(values) + UNSEEN) / (rows + 1)
    return np.asarray(-np.log(np.minimum(np.append(share, missing), 1.0)))
