"""Which fields of a strange row are to blame, and what should have stood there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from guards.outlier.tails import Scales
from guards.outlier.whitening import Basis
from guards.verdict import Rows

MOST_FIELDS = 3  # a row in which more is wrong is told apart by no list of fields
NOTABLE_SIGMAS = 2.0  # a field nearer than this to its expectation explains nothing


@dataclass(frozen=True, slots=True)
class Extremes:
    """The 1st, 2nd, 4th, ... least and largest value of every column of n reference rows."""

    values: NDArray[np.float64]  # (2, k, d), least and largest
    rows: int  # n

    @classmethod
    def of(cls, reference: Rows) -> Self:
        """Read them off reference rows, shape (n, d)."""
        ordered = np.sort(np.asarray(reference, np.float64), axis=0)
        ranks = _ranks(len(ordered)) - 1
        return cls(np.stack([ordered[ranks], ordered[::-1][ranks]]), len(ordered))

    @property
    def least_p(self) -> NDArray[np.float64]:
        """Two-sided p-value of a value between each pair, at least; shape (k,)."""
        return np.minimum(1.0, 2 * _ranks(self.rows) / (self.rows + 1))


def _ranks(rows: int) -> NDArray[np.intp]:
    """Powers of two up to half of the rows, at least 1."""
    return 2 ** np.arange(max(1, (rows // 2).bit_length()))


@dataclass(frozen=True, slots=True)
class Blame:
    """Fields of one row that do not fit, the worst first; shapes are (fields,)."""

    fields: NDArray[np.intp]
    tails: int  # so many are far out on their own; the others beside the other fields
    p: NDArray[np.float64]  # of a value so far out, if fields were Gaussian
    expected: NDArray[np.float64]  # standardised, given the fields that are not to blame
    width: NDArray[np.float64]  # standard deviation of that expectation


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Judges the fields of standardised rows, first alone, then beside each other.

    A field is a tail if its two-sided p-value is small enough for the number of
    fields (Holm).  Where k of n reference rows lie further out, no p-value is smaller
    than 2 k / (n + 1), whatever a Gaussian would say: heavy tails are ordinary.

    For a Gaussian with precision P, field j given all others has mean
    z_j - (Pz)_j / P_jj and variance 1 / P_jj.  A field that was corrupted alone
    has the largest residual: by Cauchy-Schwarz it moves no other field's
    residual further than its own.  Fields that are to blame already are left out
    of what the others are compared with.

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure",
    Scandinavian Journal of Statistics 6(2).
    """

    basis: Basis
    excess: NDArray[np.float64]  # (m,), precision along the axes beyond that outside them
    precision: NDArray[np.float64]  # (d,), the diagonal of P
    low: NDArray[np.float64]  # (k, d), standardised values that ever more reference rows are below
    high: NDArray[np.float64]  # (k, d), or above
    least_p: NDArray[np.float64]  # (k, 1), of a value between the two
    alpha: float

    @classmethod
    def of(cls, scales: Scales, basis: Basis, extremes: Extremes, *, alpha: float) -> Self:
        """Prepare for rows like those whose extremes these are."""
        excess = 1 / basis.variances - 1 / basis.rest
        precision = basis.axes**2 @ excess + 1 / basis.rest
        low, high = scales.standardise(extremes.values)
        least_p = extremes.least_p[:, None]
        return cls(basis, excess, precision, low, high, least_p, alpha)

    def blame(self, standard: NDArray[np.float64]) -> Blame:
        """Find the fields that do not fit in a standardised row, shape (d,)."""
        tails, tail_p = self._tails(standard)
        pull = self._times_precision(standard)
        fields = list(tails)
        while len(fields) < min(MOST_FIELDS, len(standard)):
            residual = self._residual(pull, fields)
            worst = int(np.abs(residual).argmax())
            least = NOTABLE_SIGMAS if not fields else self._bonferroni_sigmas
            if abs(residual[worst]) < least:
                break
            fields.append(worst)
        among = np.array(fields, np.intp)
        shift, width = self._correction(pull, among)
        p = 2 * ndtr(-np.abs(shift) / width)
        p[: len(tails)] = tail_p
        return Blame(among, len(tails), p, standard[among] - shift, width)

    @property
    def _bonferroni_sigmas(self) -> float:
        """How far off a further field must be to be mentioned beside the first."""
        return max(NOTABLE_SIGMAS, float(-ndtri(self.alpha / 2 / len(self.precision))))

    def _tails(self, standard: NDArray[np.float64]) -> tuple[NDArray[np.intp], Rows]:
        """Find the fields that are far out on their own, worst first, with their p-values."""
        seen = (standard >= self.low) & (standard <= self.high)  # (k, d)
        p = np.maximum(2 * ndtr(-np.abs(standard)), (seen * self.least_p).max(axis=0))
        order = np.argsort(p, kind="stable")[:MOST_FIELDS]
        is_small = p[order] <= self.alpha / (len(p) - np.arange(len(order)))
        found = order[np.logical_and.accumulate(is_small)]
        # Beyond 38 sigma every p-value is 0: there the distance decides.
        found = found[np.argsort(-np.abs(standard[found]), kind="stable")]
        return found, p[found]

    def _times_precision(self, standard: NDArray[np.float64]) -> NDArray[np.float64]:
        axes = self.basis.axes
        return np.asarray(axes @ (self.excess * (standard @ axes)) + standard / self.basis.rest)

    def _columns(self, fields: Sequence[int] | NDArray[np.intp]) -> NDArray[np.float64]:
        """Give columns of the precision, shape (d, fields)."""
        axes = self.basis.axes
        columns = axes @ (self.excess[:, None] * axes[fields].T)
        columns[fields, np.arange(len(fields))] += 1 / self.basis.rest
        return np.asarray(columns)

    def _residual(self, pull: NDArray[np.float64], without: list[int]) -> NDArray[np.float64]:
        """Compare each field with the others except some, in sigmas; those themselves give 0."""
        if not without:
            return np.asarray(pull / np.sqrt(self.precision))
        columns = self._columns(without)
        solved = np.linalg.solve(columns[without], columns.T)  # (fields, d)
        left = pull - pull[without] @ solved
        precision = self.precision - np.einsum("df,fd->d", columns, solved)
        precision[without], left[without] = 1.0, 0.0
        return np.asarray(left / np.sqrt(np.maximum(precision, 1e-12)))

    def _correction(
        self, pull: NDArray[np.float64], fields: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How far the fields lie from what the others lead to expect, and how sure that is."""
        covariance = np.linalg.inv(self._columns(fields)[fields])
        return covariance @ pull[fields], np.sqrt(np.diag(covariance))
