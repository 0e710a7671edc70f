"""Where the labels of a window come from, and how far they carry another policy."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class LabelSources:
    """Labelled decisions by how they were made; those of replicas and windows merge."""

    greedy: int = 0  # nothing else could have been served: propensity 1
    randomised: int = 0  # drawn, and what was drawn was the greedy choice
    explored: int = 0  # drawn, and another
    weight: float = 0.0  # sum of 1 / propensity
    squared: float = 0.0  # sum of its square

    @classmethod
    def of(cls, propensities: NDArray[np.float64], explored: NDArray[np.bool_]) -> Self:
        """Count labelled decisions, shape (n,) each; ``explored``: not the greedy choice."""
        drawn = propensities < 1
        weights = 1 / propensities
        return cls(
            greedy=int((~drawn).sum()),
            randomised=int((drawn & ~explored).sum()),
            explored=int((drawn & explored).sum()),
            weight=float(weights.sum()),
            squared=float(weights @ weights),
        )

    def merge(self, other: Self) -> Self:
        """Take two parts together."""
        return type(self)(
            self.greedy + other.greedy,
            self.randomised + other.randomised,
            self.explored + other.explored,
            self.weight + other.weight,
            self.squared + other.squared,
        )

    @property
    def explored_share(self) -> float:
        """Share of labels from choices the model would not have made; NaN of no label."""
        total = self.greedy + self.randomised + self.explored
        return self.explored / total if total else float("nan")

    @property
    def effective_rows(self) -> float:
        """Labels that uniform traffic would need to say as much: (sum w)² / sum w², w = 1/p."""
        return self.weight**2 / self.squared if self.squared else 0.0
