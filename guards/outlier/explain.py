"""Why a row was judged strange, in the row's own units."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guards.outlier.blame import Blame, Suspicion
from guards.outlier.similar import Similar
from guards.outlier.tails import Scales
from guards.verdict import Reason, Rows

MOST_BROKEN = 3  # fields that are no number; a row of 784 NaNs is explained by the first few
MOST_REPLACED = 5  # fields of a repair: so often is a row scored again
# Of one check, so that a flood of strange rows costs milliseconds and not seconds: so many rows
# are compared with others (200 us each), and of so many the fields to blame are named (60 us).
COMPARED_ROWS = 8
NAMED_ROWS = 64
LEAST_SHARE = 0.5  # of the difference to its neighbours that a field must hold to be named

COMPARISONS = frozenset({"neighbours", "nearest", "repair"})  # reasons that blame nothing further

PValues = Callable[[Rows], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Explainer:
    """Tells what does not fit, in this order.

    - ``missing``, ``nonfinite``: no number stands there.
    - ``tail``: far out on its own.
    - ``conditional``: unlikely beside the other fields.
    - ``isolated``: no single field is to blame.
    - ``neighbours``: the field that tells the row most from the reference rows like it.
    - ``nearest``: which of them is most like it, where settings allow to name it.
    - ``repair``: the fewest fields that, had they been as in those rows, leave nothing strange.

    Of many strange rows in one check the first are explained in full; from some number on
    ``isolated`` has to do.
    """

    scales: Scales
    suspicion: Suspicion
    similar: Similar
    columns: Sequence[str]
    names: NDArray[np.int64] | None  # of reference rows, None: they are not to be named
    p_values: PValues
    threshold: float  # a row with p <= threshold is strange

    def explain(
        self, rows: Rows, p_values: NDArray[np.float64], strange: NDArray[np.intp]
    ) -> dict[int, tuple[Reason, ...]]:
        """Give the reasons of the ``strange`` among rows, shape (n, d), by row."""
        told = {}
        for rank, at in enumerate(strange.tolist()):
            row = rows[at].astype(np.float64)
            broken = np.flatnonzero(~np.isfinite(row))
            if len(broken):
                told[at] = tuple(self._broken(row, int(column)) for column in broken[:MOST_BROKEN])
            elif rank < NAMED_ROWS:
                told[at] = self._explain(row, float(p_values[at]), compare=rank < COMPARED_ROWS)
            else:
                told[at] = (_isolated(float(p_values[at])),)
        return told

    def _explain(self, row: Rows, p: float, *, compare: bool) -> tuple[Reason, ...]:
        with np.errstate(over="ignore"):  # cut off at the reach
            standard = self.scales.limit(self.scales.standardise(row))
        blame = self.suspicion.blame(standard)
        fields = tuple(self._field(row, blame, rank) for rank in range(len(blame.fields)))
        reasons = fields or (_isolated(p),)
        return reasons + self._comparison(row, standard, blame) if compare else reasons

    def _field(self, row: Rows, blame: Blame, rank: int) -> Reason:
        column = int(blame.fields[rank])
        centre, spread = self.scales.centre[column], self.scales.spread[column]
        if rank < blame.tails:
            kind, expected = "tail", f"{centre:.4g} ± {spread:.2g}"
        else:
            kind = "conditional"
            likely = centre + spread * blame.expected[rank]
            width = spread * blame.width[rank]
            expected = f"{likely:.4g} ± {width:.2g} given the other fields"
        return Reason(
            self.columns[column], kind, float(row[column]), expected, float(blame.p[rank])
        )

    def _broken(self, row: Rows, column: int) -> Reason:
        value = float(row[column])
        kind = "missing" if np.isnan(value) else "nonfinite"
        # As words: neither NaN nor infinity exists in JSON.
        return Reason(self.columns[column], kind, str(value), "a finite number")

    def _comparison(
        self, row: Rows, standard: NDArray[np.float64], blame: Blame
    ) -> tuple[Reason, ...]:
        """Compare with reference rows that are alike in the fields that are not to blame."""
        repaired = standard.copy()
        repaired[blame.fields] = blame.expected
        near = self.similar.nearest(repaired)
        likely = self.similar.rows(near).mean(axis=0)
        squared = (standard - likely) ** 2
        reasons = self._difference(row, squared, likely)
        if self.names is not None:
            who = f"reference row {self.names[near[0]]}"
            reasons += (Reason("row", "nearest", who, "the most similar row of the reference"),)
        rest = np.argsort(-squared, kind="stable")
        order = [*blame.fields, *rest[~np.isin(rest, blame.fields)]][:MOST_REPLACED]
        return reasons + self._repair(row, likely, [int(column) for column in order])

    def _difference(
        self, row: Rows, squared: NDArray[np.float64], likely: NDArray[np.float64]
    ) -> tuple[Reason, ...]:
        """Name the field that tells the row most from its neighbours, if one does."""
        column = int(squared.argmax())
        share = squared[column] / max(squared.sum(), np.finfo(np.float64).tiny)
        if share < LEAST_SHARE:
            return ()
        value = self._value(likely, column)
        expected = f"{value:.4g} in similar rows, {share:.0%} of the difference to them"
        return (Reason(self.columns[column], "neighbours", float(row[column]), expected),)

    def _repair(
        self, row: Rows, likely: NDArray[np.float64], order: list[int]
    ) -> tuple[Reason, ...]:
        """Replace ever more fields, the worst first, until the row is no longer strange."""
        tried = np.repeat(row[None], len(order), axis=0)
        for count, column in enumerate(order):
            tried[count:, column] = self._value(likely, column)
        p_values = self.p_values(tried)
        enough = np.flatnonzero(p_values > self.threshold)
        if not len(enough):
            return ()
        fewest = int(enough[0])
        replaced = order[: fewest + 1]
        names = ", ".join(self.columns[column] for column in replaced)
        values = ", ".join(f"{tried[fewest, column]:.4g}" for column in replaced)
        p = float(p_values[fewest])
        return (Reason(names, "repair", None, f"ordinary with {values}", p),)

    def _value(self, standard: NDArray[np.float64], column: int) -> float:
        """Give one field of a standardised row in its own unit."""
        return float(self.scales.centre[column] + self.scales.spread[column] * standard[column])


def _isolated(p: float) -> Reason:
    return Reason("row", "isolated", None, "reference rows nearer by", p)
