"""The directions in which ordinary rows vary, and how much."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_AXES = 128  # the cost of a row grows with them; more hold little of the variance
MIN_SHRINKAGE = 0.01  # keeps near-degenerate directions from drowning all others


@dataclass(frozen=True, slots=True)
class Basis:
    """Principal axes of standardised rows, with regularised variances."""

    axes: NDArray[np.float64]  # (d, m), orthonormal columns, m = min(d, MAX_AXES)
    variances: NDArray[np.float64]  # (m,), all positive
    rest: float  # variance of each direction outside the axes, positive

    @classmethod
    def fit(cls, standard: NDArray[np.float64]) -> "Basis":
        """Learn the axes of standardised reference rows, shape (n, d)."""
        n, d = standard.shape
        covariance = standard.T @ standard / n
        eigenvalues, vectors = np.linalg.eigh(covariance)
        shrinkage = max(MIN_SHRINKAGE, _ledoit_wolf(standard, eigenvalues))
        shrunk = (1 - shrinkage) * np.maximum(eigenvalues, 0) + shrinkage * max(
            eigenvalues.mean(), 1e-12
        )
        left_out = max(0, d - MAX_AXES)
        rest = float(shrunk[:left_out].mean()) if left_out else 1.0
        return cls(np.ascontiguousarray(vectors[:, left_out:]), shrunk[left_out:], rest)

    def project(self, standard: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn rows (n, d) into coordinates (n, m).

        One product per row: BLAS rounds a product of many rows differently from
        one of a single row, and a row must not depend on its batch mates.
        """
        return np.asarray(np.matmul(standard[:, None, :], self.axes)[:, 0, :])


def _ledoit_wolf(standard: NDArray[np.float64], eigenvalues: NDArray[np.float64]) -> float:
    """Estimate how far to shrink a covariance towards a multiple of the identity.

    Source: Ledoit and Wolf (2004), "A well-conditioned estimator for
    large-dimensional covariance matrices", J. Multivariate Analysis 88(2).
    """
    n = len(standard)
    squared = float((eigenvalues**2).sum())  # ||S||² in the Frobenius norm
    distance = squared - float(eigenvalues.sum()) ** 2 / len(eigenvalues)
    fourth = float((np.einsum("nd,nd->n", standard, standard) ** 2).sum())
    noise = (fourth / n - squared) / n
    return min(1.0, noise / distance) if distance > 0 else 1.0
