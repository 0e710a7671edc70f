"""From a row to one score: how unlike the reference it is."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from guards.outlier import gaussian as gaussian_file
from guards.outlier import heads as heads_file
from guards.outlier import neighbours as neighbours_file
from guards.outlier.foreign import Foreign, PyodSettings
from guards.outlier.gaps import Gaps
from guards.outlier.gaussian import Gaussian
from guards.outlier.heads import Answer, Heads
from guards.outlier.mixture import Mixture
from guards.outlier.neighbours import Neighbours
from guards.outlier.rarity import Rarity
from guards.outlier.tails import Scales, largest_tail
from guards.outlier.whitening import Basis
from guards.verdict import Rows

COMPONENTS = (
    *neighbours_file.MEASURES,
    "rarity",
    "largest_tail",
    *gaussian_file.MEASURES,
)
OUTPUT_COMPONENTS = (*COMPONENTS, *heads_file.MEASURES)
# What may be mixed.  Two-sided residual and tails see what neighbours do not, such as noise in many
# columns at once; the distance along the main axes adds nothing to them on tables.
PRESETS: dict[str, tuple[str, ...]] = {
    "mixture": COMPONENTS[:-1],
    "neighbours": neighbours_file.MEASURES,
    "whitened": ("whitened_distance", "whitened_ratio", "residual", "mahalanobis"),
}
# Of outputs that hold logits or probabilities.  Where logits are all there is, neighbours among
# them stand for those of an embedding.  The residual is that of ViM, two-sided: a dark image
# leaves less over than an ordinary one, and neither class nor confidence tells.
OUTPUT_PRESETS: dict[str, tuple[str, ...]] = {
    "outputs": ("rmds", "gen", "whitened_distance", "whitened_ratio", "residual"),
    "classwise": ("rmds", "gen"),
    "rmds": ("rmds",),
    "gen": ("gen",),
    "vim": ("vim",),
    "energy": ("energy",),
    "max_logit": ("max_logit",),
    "msp": ("msp",),
}


@dataclass(frozen=True, slots=True)
class Detector:
    """Mixes how a row lies among its neighbours, in its tails, and to a Gaussian.

    No score depends on a row's batch mates, not even in its last bit: every step
    that rounds works on one row at a time.
    """

    preset: str
    scales: Scales
    gaps: Gaps
    basis: Basis
    neighbours: Neighbours
    gaussian: Gaussian
    rarity: Rarity
    mixture: Mixture
    heads: Heads | None = None  # of rows that are a classifier's outputs
    foreign: Foreign | None = None  # scores in place of the mixture, which then explains

    @classmethod
    def fit(
        cls,
        reference: Rows,
        *,
        neighbours: int,
        tensors: Sequence[slice] = (),
        preset: str = "mixture",
        answer: Answer | None = None,
        pyod: PyodSettings | None = None,
    ) -> Self:
        """Learn what is ordinary from rows, shape (n, d); NaN is a missing value.

        Where rows are a classifier's outputs, ``answer`` says which columns are its logits.
        ``pyod`` names a detector of PyOD that scores instead.

        The mixture's scales come from reference rows measured without themselves,
        not from held-out rows, which must stay unseen for the calibration.
        """
        scales = Scales.fit(reference, tensors)
        raw = scales.standardise(reference)
        gaps = Gaps.fit(reference, raw)
        mended, absent, _ = gaps.mend(raw)
        standard = scales.limit(mended)
        basis = Basis.fit(standard)
        points = basis.project(standard)
        index = Neighbours.fit(points, basis, k=neighbours)
        gaussian = Gaussian.fit(points, standard, basis)
        rarity = Rarity.fit(standard, absent)
        squared = gaussian.squared(points, standard)
        components = [
            index.measure_between(),
            rarity.measure(standard, absent),
            largest_tail(standard),
            gaussian.compare(squared),
        ]
        heads = None
        if answer is not None:
            heads = Heads.fit(reference, points, squared[:, 0], basis=basis, answer=answer)
            components.append(heads.measure(reference, points, squared[:, 0]))
        mixture = Mixture.fit(np.vstack(components)[_PICKED[preset]])
        foreign = None if pyod is None else Foreign.fit(standard, pyod)
        return cls(preset, scales, gaps, basis, index, gaussian, rarity, mixture, heads, foreign)

    def score(self, rows: Rows) -> NDArray[np.float64]:
        """Score rows (n, d): larger is stranger, +inf for a row that is broken.

        Broken are rows that hold an infinity, or a gap where the reference never had one.
        """
        absent = broken = None
        with np.errstate(over="ignore", invalid="ignore"):  # such rows are found just below
            standard = self.scales.standardise(rows)
            is_whole = math.isfinite(np.add.reduce(standard, axis=None))
        if not is_whole:
            standard, absent, broken = self.gaps.mend(standard)
        standard = self.scales.limit(standard)
        if self.heads is not None and broken is not None:
            rows = np.where(broken[:, None], 0.0, rows)
        if self.foreign is None:
            found = self._components(rows, standard, absent)
            scores = self.mixture.score(found[_PICKED[self.preset]])
        else:
            scores = self.foreign.score(standard)
        if broken is not None:
            scores[broken] = np.inf
        return scores

    @property
    def class_count(self) -> int:
        """How many classes the rows are a model's answer to; 0 where they are none."""
        return 0 if self.heads is None else self.heads.answer.count

    def classes(self, rows: Rows) -> NDArray[np.intp]:
        """Find the class that each of the rows (n, d) is predicted to be of, shape (n,)."""
        if self.heads is None:
            return np.zeros(len(rows), np.intp)
        return np.asarray(rows[:, self.heads.answer.columns].argmax(axis=1))

    def _components(
        self, rows: Rows, standard: NDArray[np.float64], absent: NDArray[np.bool_] | None
    ) -> NDArray[np.float64]:
        """Measure rows (n, d), raw and standardised, in the order of `OUTPUT_COMPONENTS`."""
        points = self.basis.project(standard)
        size = len(COMPONENTS) if self.heads is None else len(OUTPUT_COMPONENTS)
        found = np.empty((size, len(standard)))
        squared = self.gaussian.squared(points, standard)
        found[:4] = self.neighbours.measure(points)
        found[4] = self.rarity.measure(standard, absent)
        found[5] = largest_tail(standard)
        found[6:8] = self.gaussian.compare(squared)
        if self.heads is not None:
            found[8:] = self.heads.measure(rows, points, squared[:, 0])
        return found

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give up everything that was learnt."""
        return {
            "preset": np.array(self.preset),
            "centre": self.scales.centre,
            "spread": self.scales.spread,
            "reach": self.scales.reach,
            "may_miss": self.gaps.may_miss,
            "fill": self.gaps.fill,
            "axes": self.basis.axes,
            "variances": self.basis.variances,
            "rest": np.array(self.basis.rest),
            "points": self.neighbours.points,
            "search": self.neighbours.search,
            "spacing": self.neighbours.spacing,
            "neighbours": np.array(self.neighbours.k),
            "gaussian_readers": self.gaussian.readers,
            "gaussian_residual": np.array([self.gaussian.floor, self.gaussian.centre]),
            "rarity_middle": self.rarity.middle,
            "rarity_steep": self.rarity.steep,
            "rarity_cells": self.rarity.cells,
            "rarity_table": self.rarity.table,
            "component_median": self.mixture.median,
            "component_spread": self.mixture.spread,
            **({} if self.heads is None else self.heads.to_arrays()),
            **({} if self.foreign is None else self.foreign.to_arrays()),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild the detector that gave ``arrays``; it scores alike to the last bit."""
        axes = np.ascontiguousarray(arrays["axes"])  # BLAS rounds by memory layout
        basis = Basis(axes, arrays["variances"], float(arrays["rest"]))
        floor, centre = arrays["gaussian_residual"].tolist()
        readers = np.ascontiguousarray(arrays["gaussian_readers"])
        return cls(
            str(arrays["preset"]),
            Scales(arrays["centre"], arrays["spread"], arrays["reach"]),
            Gaps(arrays["may_miss"], arrays["fill"]),
            basis,
            Neighbours.build(
                arrays["points"],
                basis,
                spacing=np.ascontiguousarray(arrays["spacing"]),
                k=int(arrays["neighbours"]),
                search=arrays["search"],
            ),
            Gaussian(readers, floor, centre, is_cut=axes.shape[0] > axes.shape[1]),
            Rarity(
                arrays["rarity_middle"],
                arrays["rarity_steep"],
                arrays["rarity_cells"],
                arrays["rarity_table"],
            ),
            Mixture(arrays["component_median"], arrays["component_spread"]),
            Heads.from_arrays(arrays),
            Foreign.from_arrays(arrays),
        )


def _rows_of(parts: Sequence[str]) -> slice | list[int]:
    """Find rows of `OUTPUT_COMPONENTS`; a slice where one does, for speed."""
    at = [OUTPUT_COMPONENTS.index(part) for part in parts]
    return slice(at[0], at[-1] + 1) if at == list(range(at[0], at[-1] + 1)) else at


_PICKED = {name: _rows_of(parts) for name, parts in (PRESETS | OUTPUT_PRESETS).items()}
