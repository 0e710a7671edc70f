"""The contract's checks of columns, as arrays in the precision of the rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.contract.feature import Feature
from guards.verdict import Rows

# Kinds of violation, as codes in an array; a value has one kind, the larger code.
VALUE_KINDS = ("", "type", "category", "range", "nonfinite", "missing")
_TYPE, _CATEGORY, _RANGE, _NONFINITE, _MISSING = range(1, len(VALUE_KINDS))
BOOLEAN = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Limits:
    """What columns of numbers may hold.

    A float32 copy of 0.1 is larger than 0.1: limits are rounded like the values they judge.
    """

    low: NDArray[np.floating]  # (d,)
    high: NDArray[np.floating]  # (d,)
    missing: NDArray[np.bool_]  # (d,), whether NaN is a value
    listed: NDArray[np.intp]  # (c,), columns with a list of values
    values: NDArray[np.floating]  # (most, c), filled up by repeating
    unlisted: NDArray[np.uint8]  # (c,), the kind of violation of another value
    whole: NDArray[np.intp]  # columns of integers
    images: tuple[tuple[slice, float], ...]  # columns of an image, and its least contrast

    @classmethod
    def of(cls, features: Sequence[Feature], dtype: np.dtype[Any]) -> "Limits":
        """Lay out the features of numbers; their columns follow each other."""
        columns = [feature for feature in features for _ in range(feature.count)]
        top = float(np.finfo(dtype).max)  # finite, so that infinity is outside even an open range
        low = [-top if feature.low is None else feature.low for feature in columns]
        high = [top if feature.high is None else feature.high for feature in columns]
        known = {at: values for at, f in enumerate(columns) if (values := _listed(f))}
        most = max((len(values) for values in known.values()), default=0)
        filled = [values + values[-1:] * (most - len(values)) for values in known.values()]
        ends = list(accumulate(feature.count for feature in features))
        return cls(
            np.clip(np.array(low), -top, top).astype(dtype),
            np.clip(np.array(high), -top, top).astype(dtype),
            np.array([feature.missing for feature in columns], np.bool_),
            np.array(list(known), np.intp),
            np.array(filled, np.float64).reshape(len(known), most).T.astype(dtype),
            np.array(
                [_TYPE if columns[at].kind == "boolean" else _CATEGORY for at in known], np.uint8
            ),
            np.array([at for at, f in enumerate(columns) if f.kind == "integer"], np.intp),
            tuple(
                (slice(end - feature.count, end), feature.contrast)
                for feature, end in zip(features, ends, strict=True)
                if feature.contrast
            ),
        )

    def ordinary(self, rows: Rows) -> NDArray[np.bool_]:
        """Clear most rows, (n,), at once; NaN and infinity never are."""
        clear = self._inside(rows).all(axis=1)
        if len(self.listed):
            clear &= self._known(rows).all(axis=1)
        if len(self.whole):
            clear &= self._is_whole(rows).all(axis=1)
        for columns, contrast in self.images:
            clear &= np.ptp(rows[:, columns], axis=1) >= contrast
        return np.asarray(clear)

    def kinds(self, rows: Rows) -> NDArray[np.uint8]:
        """Name what is wrong with each value, as a code; 0 where nothing is."""
        kinds = np.zeros(rows.shape, np.uint8)
        missing = np.isnan(rows)
        kinds[:, self.whole] = ~self._is_whole(rows) * np.uint8(_TYPE)
        kinds[:, self.listed] = ~self._known(rows) * self.unlisted
        kinds[~self._inside(rows)] = _RANGE
        kinds[missing] = 0
        kinds[np.isinf(rows)] = _NONFINITE
        kinds[missing & ~self.missing] = _MISSING
        return kinds

    def _inside(self, rows: Rows) -> NDArray[np.bool_]:
        return np.asarray((rows >= self.low) & (rows <= self.high))

    def _known(self, rows: Rows) -> NDArray[np.bool_]:
        """Find the values of listed columns, (n, c), that are on the list."""
        values = rows[:, self.listed]
        found = np.zeros(values.shape, np.bool_)
        for value in self.values:
            found |= values == value
        return found

    def _is_whole(self, rows: Rows) -> NDArray[np.bool_]:
        values = rows[:, self.whole]
        return np.asarray(values == np.rint(values))


def is_finite(rows: Rows) -> NDArray[np.bool_]:
    """Clear the rows, (n,), of which nobody has described more than that they are numbers."""
    return np.asarray(np.isfinite(rows).all(axis=1))


def finite_kinds(rows: Rows) -> NDArray[np.uint8]:
    """Name what is wrong with values that nobody has described: only that they are no numbers."""
    kinds = np.isinf(rows) * np.uint8(_NONFINITE)
    kinds[np.isnan(rows)] = _MISSING
    return np.asarray(kinds, np.uint8)


def _listed(feature: Feature) -> tuple[float, ...]:
    if feature.kind == "boolean":
        return BOOLEAN
    return tuple(value for value in feature.categories or () if not isinstance(value, str))
