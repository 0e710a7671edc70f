"""Why a row was judged strange, in the row's own units."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from guards.outlier.tails import Scales
from guards.outlier.whitening import Basis
from guards.verdict import Reason, Rows

MAX_REASONS = 3
NOTABLE_SIGMAS = 2.0  # a field nearer than this to its expectation explains nothing
MARGINAL_SIGMAS = 4.0  # so far out on its own that the other fields need no mention


class Explainer:
    """Compares each field with what the other fields of its row lead to expect.

    For a Gaussian with precision P, field j given all others has mean
    z_j - (Pz)_j / P_jj and variance 1 / P_jj.  A field that was corrupted alone
    has the largest residual: by Cauchy-Schwarz it moves no other field's
    residual further than its own.
    """

    def __init__(self, scales: Scales, basis: Basis, columns: Sequence[str]) -> None:
        self._scales = scales
        self._basis = basis
        self._columns = columns
        axes = basis.axes
        self._precision = (  # (d,), the diagonal of P
            axes**2 @ (1 / basis.variances) + (1 - (axes**2).sum(axis=1)) / basis.rest
        )

    def explain(self, row: Rows, p: float) -> tuple[Reason, ...]:
        """Give the fields of one strange row, shape (d,), that are least expected."""
        broken = np.flatnonzero(~np.isfinite(row))
        if len(broken):
            return tuple(self._broken(row, int(column)) for column in broken[:MAX_REASONS])
        with np.errstate(over="ignore"):  # cut off just below
            standard = self._scales.limit(self._scales.standardise(row))
        pull = self._pull(standard)
        residual = pull / np.sqrt(self._precision)
        order = np.argsort(-np.abs(residual), kind="stable")[:MAX_REASONS]
        notable = [int(column) for column in order if abs(residual[column]) >= NOTABLE_SIGMAS]
        if not notable:
            return (Reason("row", "isolated", None, "reference rows nearer by", p),)
        return tuple(self._field(row, standard, pull, residual, column) for column in notable)

    def _pull(self, standard: NDArray[np.float64]) -> NDArray[np.float64]:
        """Multiply by the precision: along the axes and, flatly, outside them."""
        axes = self._basis.axes
        along = standard @ axes
        outside = standard - axes @ along
        return np.asarray(axes @ (along / self._basis.variances) + outside / self._basis.rest)

    def _field(
        self,
        row: Rows,
        standard: NDArray[np.float64],
        pull: NDArray[np.float64],
        residual: NDArray[np.float64],
        column: int,
    ) -> Reason:
        centre = self._scales.centre[column]
        spread = self._scales.spread[column]
        if abs(standard[column]) >= MARGINAL_SIGMAS:
            kind, sigmas = "tail", standard[column]
            expected = f"{centre:.4g} ± {spread:.2g}"
        else:
            kind, sigmas = "conditional", residual[column]
            given_others = standard[column] - pull[column] / self._precision[column]
            width = spread / np.sqrt(self._precision[column])
            expected = f"{centre + spread * given_others:.4g} ± {width:.2g} given the other fields"
        return Reason(
            self._columns[column], kind, float(row[column]), expected, float(2 * ndtr(-abs(sigmas)))
        )

    def _broken(self, row: Rows, column: int) -> Reason:
        value = float(row[column])
        kind = "missing" if np.isnan(value) else "nonfinite"
        # As words: neither NaN nor infinity exists in JSON.
        return Reason(self._columns[column], kind, str(value), "a finite number")
