"""What can be wrong with an answer, row by row, with the reason that people read."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guards.output.layout import TOP, Layout
from guards.verdict import Reason, Rows

CONFIDENCE = "confidence"  # the kind of reason for which a model abstains


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with one row."""

    row: int
    reason: Reason


def find_broken(outputs: Rows, layout: Layout) -> list[Fault]:
    """Find rows, shape (n, columns), that hold NaN or an infinity."""
    return [
        # As a word: neither NaN nor infinity exists in JSON.
        Fault(
            row,
            Reason(layout.names[at], "nonfinite", str(float(outputs[row, at])), "a finite number"),
        )
        for row, at in _first(~np.isfinite(outputs))
    ]


def find_outside(outputs: Rows, layout: Layout) -> list[Fault]:
    """Find rows that hold a number outside its range."""
    low, high = layout.limits(outputs.dtype)
    outside = np.isfinite(outputs) & ((outputs < low) | (outputs > high))
    return [
        Fault(
            row,
            Reason(layout.names[at], "range", float(outputs[row, at]), _between(layout, at)),
        )
        for row, at in _first(outside)
    ]


def find_off_sum(answers: Rows, rows: NDArray[np.intp], layout: Layout) -> list[Fault]:
    """Find finite answers, those of ``rows``, that are no distribution."""
    totals = answers.sum(axis=1, dtype=np.float64)
    off = np.flatnonzero(~(np.abs(totals - 1) <= layout.tolerance))
    expected = f"a sum of 1 ± {layout.tolerance:g}"
    return [
        Fault(int(rows[at]), Reason(layout.answer, "sum", float(totals[at]), expected))
        for at in off
    ]


def find_unsure(
    confidence: NDArray[np.float64], rows: NDArray[np.intp], *, least: float, name: str
) -> list[Fault]:
    """Find answers, those of ``rows``, that the model is not sure enough of."""
    expected = f"at least {least:g}"
    return [
        Fault(int(rows[at]), Reason(name, CONFIDENCE, float(confidence[at]), expected))
        for at in np.flatnonzero(confidence < least)
    ]


def _first(wrong: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Give each row in which something is wrong, with the first such column."""
    columns = wrong.argmax(axis=1)
    return [(int(row), int(columns[row])) for row in np.flatnonzero(wrong.any(axis=1))]


def _between(layout: Layout, column: int) -> str:
    low, high = layout.low[column], layout.high[column]
    return f"{'-∞' if low <= -TOP else f'{low:g}'} to {'∞' if high >= TOP else f'{high:g}'}"
