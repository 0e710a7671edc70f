"""How the outputs of a model lie side by side in the rows that the output guard judges."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from guards.columns import column_names
from guards.output.classes import ClassReading
from guards.output.settings import Range
from guards.verdict import Rows

TOP = float(np.finfo(np.float64).max)  # finite, so that infinity is outside even an open range


@dataclass(frozen=True, slots=True)
class Layout:
    """The answer first, then every other output that has a range; a row is (columns,) wide."""

    names: tuple[str, ...]
    width: int  # columns of the answer
    low: NDArray[np.float64]  # (columns,)
    high: NDArray[np.float64]  # (columns,)
    reading: ClassReading | None  # None: the answer is no classes
    tolerance: float  # what rounding makes of a sum of probabilities

    @classmethod
    def of(
        cls,
        outputs: Sequence[tuple[str, int, Range]],
        *,
        width: int,
        reading: ClassReading | None = None,
        tolerance: float = 0.0,
    ) -> Self:
        """Lay out outputs given by name, columns and range; ``width`` columns are the answer."""
        low = [-TOP if r.low is None else r.low for _, count, r in outputs for _ in range(count)]
        high = [TOP if r.high is None else r.high for _, count, r in outputs for _ in range(count)]
        least, most = np.array(low, np.float64), np.array(high, np.float64)
        if reading is not None and reading.role == "probabilities":
            least[:width] = np.maximum(least[:width], -tolerance)
            most[:width] = np.minimum(most[:width], 1 + tolerance)
        names = tuple(named for name, count, _ in outputs for named in column_names((name,), count))
        return cls(names, width, least, most, reading, tolerance)

    @property
    def answer(self) -> str:
        """Name the answer as a whole."""
        return self.names[0].partition("[")[0] if self.names else "output"

    @property
    def must_sum(self) -> bool:
        """Whether the answer is a whole distribution."""
        reading = self.reading
        return reading is not None and reading.role == "probabilities" and reading.width > 1

    def limits(self, dtype: np.dtype[np.floating]) -> tuple[Rows, Rows]:
        """Give both ends in the precision of what is judged: a float32 0.1 is more than 0.1."""
        top = float(np.finfo(dtype).max)
        low, high = np.clip(self.low, -top, top), np.clip(self.high, -top, top)
        return low.astype(dtype), high.astype(dtype)
