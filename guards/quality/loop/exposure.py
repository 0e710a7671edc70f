"""What was shown how often, and what came of it: counts per item, and what follows from them.

Source: Mansoury et al. (2020), "Feedback loop and bias amplification in recommender
systems", CIKM, for popularity lift; Chaney et al. (2018), RecSys, for concentration.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

Items = NDArray[np.int64]  # ids, or hashes of ids
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Exposure:
    """Impressions and hits of every item that was eligible, shown or not, in one window.

    Exposures of replicas or of windows add up: ``a.merge(b)`` is the same whatever the order.
    """

    items: Items  # (m,), ascending, each once
    impressions: Counts  # (m,)
    hits: Counts  # (m,), rewards of 1, e.g. clicks

    @classmethod
    def count(cls, eligible: Items, shown: Items, hit: NDArray[np.bool_]) -> Self:
        """Count one item per impression.

        Args:
            eligible: Items that could have been shown; those shown are added.
            shown: Shape (n,), the item of every impression.
            hit: Shape (n,), whether it was rewarded.
        """
        items = np.union1d(eligible, shown)
        at = np.searchsorted(items, shown)
        impressions = np.bincount(at, minlength=len(items))
        return cls(items, impressions, np.bincount(at[hit], minlength=len(items)))

    def merge(self, other: Self) -> Self:
        """Add the counts of two exposures."""
        items = np.union1d(self.items, other.items)
        impressions = np.zeros(len(items), np.int64)
        hits = np.zeros(len(items), np.int64)
        for part in (self, other):
            at = np.searchsorted(items, part.items)
            impressions[at] += part.impressions
            hits[at] += part.hits
        return type(self)(items, impressions, hits)

    def of(self, items: Items) -> Counts:
        """Read the impressions of ``items``, 0 where an item is unknown, shape (len(items),)."""
        if not len(self.items):
            return np.zeros(len(items), np.int64)
        at = np.minimum(np.searchsorted(self.items, items), len(self.items) - 1)
        return np.where(self.items[at] == items, self.impressions[at], 0)


def coverage(exposure: Exposure, *, least: int) -> float:
    """Share of eligible items with at least ``least`` impressions; NaN of no item.

    Not "at least one": under any randomness nearly everything is shown once.
    """
    return _share(exposure.impressions >= least)


def gini(exposure: Exposure) -> float:
    """Concentration of impressions: 0 all items equal, 1 all impressions on one item.

    Known to move little while coverage doubles: never an acceptance criterion alone.
    """
    counts = np.sort(exposure.impressions).astype(np.float64)
    n, total = len(counts), float(counts.sum())
    if not total:
        return float("nan")
    return float(1 + 1 / n - 2 * counts.cumsum().sum() / (n * total))


def effective_items(exposure: Exposure) -> float:
    """How many equally often shown items would be as varied: exp of the entropy."""
    total = float(exposure.impressions.sum())
    if not total:
        return float("nan")
    shares = exposure.impressions / total
    return float(np.exp(-xlogy(shares, shares).sum()))


def popularity_lift(served: Exposure, history: Exposure) -> float:
    """How much more popular in the training data what is served was than what was served then.

    0: the model repeats the popularity of its training data; above 0 it amplifies it.
    """
    seen, shown = history.impressions.sum(), served.impressions.sum()
    if not seen or not shown:
        return float("nan")
    popularity = history.impressions / seen
    before = float(popularity @ popularity)
    now = float(history.of(served.items) / seen @ served.impressions / shown)
    return now / before - 1


@dataclass(frozen=True, slots=True)
class Bucket:
    """Items of similar popularity, and how they fared."""

    least: int  # impressions in the history, inclusive
    items: int
    impressions: int
    hit_rate: float  # NaN without an impression


def by_popularity(served: Exposure, history: Exposure, *, base: int = 10) -> tuple[Bucket, ...]:
    """Split what was served by powers of ``base`` of its popularity in the history.

    A head that does well above a tail that falls is the loop's signature.
    """
    seen = history.of(served.items)
    powers = np.floor(np.log(np.maximum(seen, 1)) / np.log(base) + 1e-9)
    rank = np.where(seen == 0, -1, powers).astype(int)
    buckets = []
    for level in np.unique(rank):
        inside = rank == level
        shown, hits = int(served.impressions[inside].sum()), int(served.hits[inside].sum())
        rate = hits / shown if shown else float("nan")
        least = 0 if level < 0 else base ** int(level)
        buckets.append(Bucket(least, int(inside.sum()), shown, rate))
    return tuple(buckets)


def found(good: Items, exposure: Exposure, *, least: int) -> float:
    """Share of the new items known to be good (by a uniform bucket, or in a simulation)
    that got at least ``least`` impressions; NaN if none is known.
    """
    return _share(exposure.of(good) >= least)


def _share(marked: NDArray[np.bool_]) -> float:
    return float(np.mean(marked)) if len(marked) else float("nan")
