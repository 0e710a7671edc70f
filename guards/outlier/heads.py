"""What a classifier's own outputs say about how strange a row is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from guards.outlier import logits as logits_file
from guards.outlier.classwise import Classwise
from guards.outlier.logits import logits_of
from guards.outlier.whitening import Basis
from guards.verdict import Rows

MEASURES = (*logits_file.MEASURES, "rmds", "vim")
FARTHEST = 1e100  # from zero that a logit counts: beyond any model, and its square is a number


@dataclass(frozen=True, slots=True)
class Answer:
    """Which columns of an output row are the logits, or the probabilities."""

    columns: slice
    is_probability: bool

    @property
    def count(self) -> int:
        """How many classes there are."""
        return int(self.columns.stop - self.columns.start)

    def logits(self, rows: Rows) -> NDArray[np.float64]:
        """Read them from output rows, shape (n, d)."""
        values = np.ascontiguousarray(rows[:, self.columns], np.float64)
        return logits_of(values) if self.is_probability else np.clip(values, -FARTHEST, FARTHEST)


@dataclass(frozen=True, slots=True)
class Heads:
    """Scores from logits, and from logits together with the embedding.

    ViM adds what the main axes leave over to the negative energy, as if it were the logit
    of one more class.

    Source: Wang et al. (2022), "ViM: Out-of-distribution with virtual-logit matching", CVPR.
    """

    answer: Answer
    classwise: Classwise
    scale: float  # logits per unit of residual

    @classmethod
    def fit(
        cls,
        rows: Rows,
        points: NDArray[np.float64],
        leftover: NDArray[np.float64],
        *,
        basis: Basis,
        answer: Answer,
    ) -> Self:
        """Learn from output rows: raw (n, d), in principal coordinates, squared residual (n,)."""
        logits = answer.logits(rows)
        classwise = Classwise.fit(points, logits.argmax(axis=1), basis)
        largest = float(np.abs(logits.max(axis=1)).mean())
        length = float(np.sqrt(leftover).mean())
        return cls(answer, classwise, largest / length if length > 0 else 0.0)

    def measure(
        self, rows: Rows, points: NDArray[np.float64], leftover: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Measure output rows: (6, n), in the order of `MEASURES`."""
        found = np.empty((6, len(rows)))
        found[:4] = logits_file.measure(self.answer.logits(rows))
        found[4] = self.classwise.measure(points)
        found[5] = self.scale * np.sqrt(leftover) + found[2]
        return found

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give up everything that was learnt."""
        columns = self.answer.columns
        return {
            "answer": np.array([columns.start, columns.stop, self.answer.is_probability]),
            "classwise_within": self.classwise.within,
            "classwise_means": self.classwise.means,
            "classwise_lengths": self.classwise.lengths,
            "classwise_overall": self.classwise.overall,
            "vim_scale": np.array(self.scale),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Heads | None":
        """Rebuild what gave ``arrays``; None where there was nothing."""
        if "answer" not in arrays:
            return None
        start, stop, is_probability = arrays["answer"].tolist()
        classwise = Classwise(
            np.ascontiguousarray(arrays["classwise_within"]),
            np.ascontiguousarray(arrays["classwise_means"]),
            arrays["classwise_lengths"],
            arrays["classwise_overall"],
        )
        answer = Answer(slice(int(start), int(stop)), bool(is_probability))
        return cls(answer, classwise, float(arrays["vim_scale"]))
