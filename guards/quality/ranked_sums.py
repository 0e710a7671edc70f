"""Measures of rankings as sums, of which those of windows and replicas add up."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from guards.quality.confidence import confidence_sequence
from guards.quality.measured import Measured
from guards.quality.ranked import Relevance, hit_rate, ndcg, reciprocal_rank

RANKED = ("ndcg", "reciprocal_rank", "hit_rate")  # means of values in [0, 1], more is better


@dataclass(frozen=True, slots=True)
class RankedSums:
    """What rankings of one version add up to."""

    version: str = ""
    rankings: int = 0
    relevant: int = 0  # rankings in which something was: of others there is no ndcg
    ndcg: float = 0.0
    reciprocal_rank: float = 0.0
    hit_rate: float = 0.0

    @classmethod
    def count(cls, version: str, relevance: Relevance) -> Self:
        """Count rankings, (n, slots) as `guards.quality.ranked` takes them."""
        gains = ndcg(relevance)
        known = gains[~np.isnan(gains)]
        hits = hit_rate(relevance, within=relevance.shape[1])
        first = reciprocal_rank(relevance)
        sums = (float(values.sum()) for values in (known, first, hits))
        return cls(version, len(relevance), len(known), *sums)

    def merge(self, other: Self) -> Self:
        """Add more rankings; those of another version take the place of these."""
        if self.version != other.version:
            return other
        return type(self)(
            self.version,
            self.rankings + other.rankings,
            self.relevant + other.relevant,
            self.ndcg + other.ndcg,
            self.reciprocal_rank + other.reciprocal_rank,
            self.hit_rate + other.hit_rate,
        )

    def measured(self, *, alpha: float) -> list[Measured]:
        """Give each measure with a betting interval; none of no ranking."""
        sizes = {"ndcg": self.relevant}
        found = []
        for name in RANKED:
            total, n = getattr(self, name), sizes.get(name, self.rankings)
            if n:
                total = min(max(total, 0.0), float(n))  # a sum of n shares, but for rounding
                low, high = confidence_sequence(total, n, alpha=alpha)
                found.append(Measured(name, n, total / n, low, high))
        return found
