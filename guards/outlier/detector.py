"""From a row to one score: how unlike the reference it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from guards.outlier.mixture import Mixture
from guards.outlier.neighbours import Neighbours
from guards.outlier.tails import Scales, largest_tail
from guards.outlier.whitening import Basis
from guards.verdict import Rows


@dataclass(frozen=True, slots=True)
class Detector:
    """Mixes how far a row is from its neighbours, plain and whitened, and the largest |z|.

    No score depends on a row's batch mates, not even in its last bit: every step
    that rounds works on one row at a time.
    """

    scales: Scales
    basis: Basis
    neighbours: Neighbours
    mixture: Mixture

    @classmethod
    def fit(cls, reference: Rows, *, neighbours: int, tensors: Sequence[slice] = ()) -> Self:
        """Learn what is ordinary from finite rows, shape (n, d).

        The mixture's scales come from reference rows measured without themselves,
        not from held-out rows, which must stay unseen for the calibration.
        """
        scales = Scales.fit(reference, tensors)
        standard = scales.limit(scales.standardise(reference))
        basis = Basis.fit(standard)
        index = Neighbours.fit(basis.project(standard), basis, k=neighbours)
        components = np.vstack([index.excess_between(), largest_tail(standard)])
        return cls(scales, basis, index, Mixture.fit(components))

    def score(self, rows: Rows) -> NDArray[np.float64]:
        """Score rows (n, d): larger is stranger, +inf for a row that is not finite."""
        with np.errstate(over="ignore", invalid="ignore"):  # such rows are found just below
            standard = self.scales.standardise(rows)
        broken = ~np.isfinite(standard).all(axis=1)
        standard[broken] = 0.0
        standard = self.scales.limit(standard)
        components = np.empty((3, len(rows)))
        components[:2] = self.neighbours.excess(self.basis.project(standard))
        components[2] = largest_tail(standard)
        scores = self.mixture.score(components)
        scores[broken] = np.inf
        return scores

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give up everything that was learnt."""
        return {
            "centre": self.scales.centre,
            "spread": self.scales.spread,
            "reach": self.scales.reach,
            "axes": self.basis.axes,
            "variances": self.basis.variances,
            "rest": np.array(self.basis.rest),
            "points": self.neighbours.points,
            "spacing": self.neighbours.spacing,
            "neighbours": np.array(self.neighbours.k),
            "component_median": self.mixture.median,
            "component_spread": self.mixture.spread,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild the detector that gave ``arrays``; it scores alike to the last bit."""
        axes = np.ascontiguousarray(arrays["axes"])  # BLAS rounds by memory layout
        basis = Basis(axes, arrays["variances"], float(arrays["rest"]))
        return cls(
            Scales(arrays["centre"], arrays["spread"], arrays["reach"]),
            basis,
            Neighbours.build(
                arrays["points"], basis, spacing=arrays["spacing"], k=int(arrays["neighbours"])
            ),
            Mixture(arrays["component_median"], arrays["component_spread"]),
        )
