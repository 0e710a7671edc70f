"""Checks rows against the feature contract of a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from guards.columns import column_names
from guards.contract import ContractDiff, Feature, diff, infer_features
from guards.errors import ShapeMismatchError
from guards.settings import Settings
from guards.verdict import ActionName, Reason, Rows, Verdict, action_of

__all__ = [
    "ContractDiff",
    "Feature",
    "OnViolation",
    "SchemaGuard",
    "SchemaSettings",
    "diff",
    "infer_features",
]

MAX_REASONS = 8  # per row; a row of 784 NaNs is explained well enough by the first few


class OnViolation(Settings):
    """What each kind of violation leads to."""

    missing: ActionName = Field(default="reject", description="NaN where it is not a value.")
    nonfinite: ActionName = Field(default="reject", description="Infinity, anywhere.")
    range: ActionName = Field(default="flag", description="Below low or above high.")
    category: ActionName = Field(default="flag", description="A value that is no category.")


class SchemaSettings(Settings):
    """Settings of `SchemaGuard`."""

    features: tuple[Feature, ...] = Field(
        default=(), description="Columns in order; none: any width, only finiteness is checked."
    )
    on_violation: OnViolation = OnViolation()


@dataclass(frozen=True, slots=True)
class _Limits:
    """The contract as arrays, in the precision of the rows.

    A float32 copy of 0.1 is larger than 0.1: limits are rounded like the values
    they judge.
    """

    low: NDArray[np.floating]  # (d,)
    high: NDArray[np.floating]  # (d,)
    columns: NDArray[np.intp]  # (c,), the categorical ones
    categories: NDArray[np.floating]  # (most, c), filled up by repeating

    @classmethod
    def of(cls, columns: Sequence[Feature], dtype: np.dtype[Any]) -> "_Limits":
        top = float(np.finfo(dtype).max)  # finite, so that infinity is outside even an open range
        low = [-top if feature.low is None else feature.low for feature in columns]
        high = [top if feature.high is None else feature.high for feature in columns]
        known = {at: f.categories for at, f in enumerate(columns) if f.categories is not None}
        most = max((len(values) for values in known.values()), default=0)
        filled = [values + values[-1:] * (most - len(values)) for values in known.values()]
        return cls(
            np.clip(np.array(low), -top, top).astype(dtype),
            np.clip(np.array(high), -top, top).astype(dtype),
            np.array(list(known), np.intp),
            np.array(filled, np.float64).reshape(len(known), most).T.astype(dtype),
        )

    def inside(self, rows: Rows) -> NDArray[np.bool_]:
        """Find the values that lie in their range; NaN and infinity never do."""
        return np.asarray((rows >= self.low) & (rows <= self.high))

    def known(self, rows: Rows) -> NDArray[np.bool_]:
        """Find the values of categorical columns, (n, c), that are a category."""
        values = rows[:, self.columns]
        found = np.zeros(values.shape, np.bool_)
        for category in self.categories:
            found |= values == category
        return found


# Kinds of violation, as codes in an array; a value has one kind, the larger code.
KINDS = ("", "category", "range", "nonfinite", "missing")
_CATEGORY, _RANGE, _NONFINITE, _MISSING = range(1, len(KINDS))


class SchemaGuard:
    """Checks every value of every row against the feature contract."""

    name = "schema"

    def __init__(self, settings: SchemaSettings) -> None:
        features = settings.features
        self._columns = [feature for feature in features for _ in range(feature.count)]
        self._names = [
            name for feature in features for name in column_names((feature.name,), feature.count)
        ]
        self._may_miss = np.array([feature.missing for feature in self._columns], np.bool_)
        self._limits = {
            dtype: _Limits.of(self._columns, dtype)
            for dtype in (np.dtype(np.float32), np.dtype(np.float64))
        }
        on = settings.on_violation
        named: tuple[ActionName, ...] = ("allow", on.category, on.range, on.nonfinite, on.missing)
        self._actions = np.array([action_of(name) for name in named], np.uint8)  # by kind

    def check(self, rows: Rows) -> Verdict:
        """Judge each of ``n`` rows, shape (n, d)."""
        if rows.ndim != 2 or (self._columns and rows.shape[1] != len(self._columns)):
            raise ShapeMismatchError(self.name, len(self._columns), rows.shape)
        if rows.dtype not in self._limits:
            rows = rows.astype(np.float64)
        actions = np.zeros(len(rows), np.uint8)
        ordinary = self._ordinary(rows)
        if ordinary.all():
            return Verdict(self.name, actions)
        suspects = np.flatnonzero(~ordinary)
        kinds = self._kinds(rows[suspects])
        actions[suspects] = self._actions[kinds].max(axis=1)
        violations = zip(suspects, rows[suspects], kinds, strict=True)
        reasons = {int(at): self._reasons(row, kind) for at, row, kind in violations if kind.any()}
        return Verdict(self.name, actions, reasons=reasons)

    def _ordinary(self, rows: Rows) -> NDArray[np.bool_]:
        """Clear most rows at once; what is left is looked at again."""
        if not self._columns:
            return np.asarray(np.isfinite(rows).all(axis=1))
        limits = self._limits[rows.dtype]
        clear = limits.inside(rows).all(axis=1)
        return np.asarray(clear & limits.known(rows).all(axis=1) if len(limits.columns) else clear)

    def _kinds(self, rows: Rows) -> NDArray[np.uint8]:
        """Name what is wrong with each value, as a code; 0 where nothing is."""
        kinds = np.zeros(rows.shape, np.uint8)
        missing = np.isnan(rows)
        if self._columns:
            limits = self._limits[rows.dtype]
            kinds[:, limits.columns] = ~limits.known(rows) * np.uint8(_CATEGORY)
            kinds[~limits.inside(rows)] = _RANGE
            kinds[missing & self._may_miss] = 0
            missing &= ~self._may_miss
        kinds[np.isinf(rows)] = _NONFINITE
        kinds[missing] = _MISSING
        return kinds

    def _reasons(self, row: Rows, kinds: NDArray[np.uint8]) -> tuple[Reason, ...]:
        columns = np.flatnonzero(kinds)[:MAX_REASONS]
        return tuple(self._reason(float(row[at]), KINDS[kinds[at]], int(at)) for at in columns)

    def _reason(self, value: float, kind: str, column: int) -> Reason:
        name = self._names[column] if self._names else column_names((), column + 1)[column]
        # As words: neither NaN nor infinity exists in JSON.
        observed = value if np.isfinite(value) else str(value)
        if not self._columns or kind in ("missing", "nonfinite"):
            return Reason(name, kind, observed, "a finite number")
        return Reason(name, kind, observed, _expected(self._columns[column]))


def _expected(feature: Feature) -> str:
    if feature.categories is not None:
        return "one of " + ", ".join(f"{value:g}" for value in feature.categories[:MAX_REASONS])
    low = "-∞" if feature.low is None else f"{feature.low:g}"
    high = "∞" if feature.high is None else f"{feature.high:g}"
    return f"{low} to {high}"
