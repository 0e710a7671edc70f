"""Label-free pseudo-anomalies: ordinary rows, spoilt in ways that happen.  START here.

Nobody has to label an outlier to learn whether a detector would see one: a probe makes rows whose
strangeness is known.  They choose the detector of a model and fill its power card.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from guards.verdict import Rows

Probe = Callable[[Rows, np.random.Generator], Rows]
"""Spoils each of n ordinary rows, shape (n, d); never changes them, keeps shape and datatype."""

REPLACED = 0.3  # share of a row's fields that come from elsewhere
STALE = 0.5  # share of a row's fields that were not refreshed
JITTER = 1.0  # standard deviations of the column


def shuffle_columns(rows: Rows, rng: np.random.Generator) -> Rows:
    """Permute every column by itself: each field is ordinary, together they never occurred."""
    return rng.permuted(rows, axis=0)


def replace_part(rows: Rows, rng: np.random.Generator) -> Rows:
    """Take 30 % of each row's fields from other rows, each from another: a join gone wrong."""
    strangers = rng.permuted(rows, axis=0)
    count = max(1, round(REPLACED * rows.shape[1]))
    chosen = _ranks(rows.shape, rng) < count
    return np.where(chosen, strangers, rows)


def jitter(rows: Rows, rng: np.random.Generator) -> Rows:
    """Add noise to every field, of the spread its column has: a sensor that fails slowly."""
    noise = JITTER * _spread(rows) * rng.standard_normal(rows.shape)
    return np.asarray((rows + noise).astype(rows.dtype))


def unit_error_10(rows: Rows, rng: np.random.Generator) -> Rows:
    """Multiply one field of each row by 10: millimetres for centimetres."""
    return _scale_one(rows, 10.0, rng)


def unit_error_100(rows: Rows, rng: np.random.Generator) -> Rows:
    """Multiply one field of each row by 100: cents for euros."""
    return _scale_one(rows, 100.0, rng)


def missing(rows: Rows, rng: np.random.Generator) -> Rows:
    """Lose one field of each row: a source that did not answer."""
    spoilt = rows.copy()
    spoilt[np.arange(len(rows)), _one_field(~np.isnan(rows), rng)] = np.nan
    return spoilt


def swap_columns(rows: Rows, rng: np.random.Generator) -> Rows:
    """Exchange two fields of each row: columns in another order than in training."""
    order = np.argsort(_ranks(rows.shape, rng), axis=1)
    if order.shape[1] < 2:
        return rows.copy()
    first, second, at = order[:, 0], order[:, 1], np.arange(len(rows))
    spoilt = rows.copy()
    spoilt[at, first], spoilt[at, second] = rows[at, second], rows[at, first]
    return spoilt


def stale(rows: Rows, rng: np.random.Generator) -> Rows:
    """Leave half of each row, fields side by side, as another row had them: a cache too old."""
    n, d = rows.shape
    count = max(1, round(STALE * d))
    start = rng.integers(0, d - count + 1, n)[:, None]
    column = np.arange(d)
    return np.where((column >= start) & (column < start + count), _others(rows, rng), rows)


def constant(rows: Rows, rng: np.random.Generator) -> Rows:
    """Give all fields of a row the value of one of them: a blank frame, a bus that hangs."""
    kept = _one_field(np.isfinite(rows), rng)
    return np.broadcast_to(rows[np.arange(len(rows)), kept][:, None], rows.shape).copy()


def all_zero(rows: Rows, rng: np.random.Generator) -> Rows:
    """Give zeros: what a buffer holds that nobody filled."""
    del rng
    return np.zeros_like(rows)


PROBES: Mapping[str, Probe] = {
    "column_shuffle": shuffle_columns,
    "partial_replacement": replace_part,
    "jitter": jitter,
    "unit_error_10": unit_error_10,
    "unit_error_100": unit_error_100,
    "missing": missing,
    "swapped_columns": swap_columns,
    "stale": stale,
    "constant": constant,
    "all_zero": all_zero,
}


def _scale_one(rows: Rows, factor: float, rng: np.random.Generator) -> Rows:
    """Multiply one field of each row that is neither zero nor missing, where there is one."""
    at, field = np.arange(len(rows)), _one_field(np.isfinite(rows) & (rows != 0), rng)
    spoilt = rows.copy()
    with np.errstate(over="ignore"):  # an overflow is what a unit error would give, too
        spoilt[at, field] *= np.asarray(factor, rows.dtype)
    return spoilt


def _spread(rows: Rows) -> NDArray[np.float64]:
    """Measure the standard deviation of the finite values of each column, shape (d,)."""
    finite = np.isfinite(rows)
    values = np.where(finite, rows, 0).astype(np.float64)
    count = np.maximum(finite.sum(axis=0), 1)
    deviations = np.where(finite, values - values.sum(axis=0) / count, 0)
    return np.asarray(np.sqrt((deviations**2).sum(axis=0) / count))


def _one_field(eligible: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw one eligible field of each row; any field where none is eligible."""
    return np.asarray((eligible + rng.random(eligible.shape)).argmax(axis=1))


def _ranks(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.intp]:
    """Put the fields of each row into a random order of its own."""
    return np.asarray(rng.random(shape).argsort(axis=1))


def _others(rows: Rows, rng: np.random.Generator) -> Rows:
    """Give each row another row, as far as there is another: a cycle through a random order."""
    order = rng.permutation(len(rows))
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)
    return rows[other]
