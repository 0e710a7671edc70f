"""What becomes of items that enter the catalogue: all that has to be remembered of each."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from guards.quality.loop.exposure import Counts, Exposure, Items


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every item that was ever eligible, with its exposure so far.  A value: `observe` returns
    the next one.

    Items of the first window are no newcomers: nobody knows how old they are.
    """

    windows: int
    items: Items  # (m,), ascending
    impressions: Counts  # (m,)
    hits: Counts  # (m,)
    first: Counts  # (m,), number of the window in which it was first eligible, from 1
    early: Counts  # (m,), impressions in its first windows, as many as it may take

    @classmethod
    def empty(cls) -> Self:
        """Begin."""
        none = np.zeros(0, np.int64)
        return cls(0, none, none, none, none, none)

    def observe(self, window: Exposure, *, patience: int) -> Self:
        """Take in the next window."""
        known = self.history.merge(window)
        old = np.searchsorted(known.items, self.items)
        first = np.full(len(known.items), self.windows + 1, np.int64)
        early = np.zeros(len(known.items), np.int64)
        first[old], early[old] = self.first, self.early
        now = self.windows + 1
        early += np.where(now - first < patience, window.of(known.items), 0)
        return replace(
            self,
            windows=now,
            items=known.items,
            impressions=known.impressions,
            hits=known.hits,
            first=first,
            early=early,
        )

    @property
    def history(self) -> Exposure:
        """All windows together."""
        return Exposure(self.items, self.impressions, self.hits)

    def first_of(self, items: Items) -> Counts:
        """Tell in which window each of ``items`` was first eligible, 0 where it never was."""
        return Exposure(self.items, self.first, self.hits).of(items)

    def newcomers(self, *, patience: int) -> tuple[Items, Counts]:
        """List items that entered ``patience`` windows ago or more, and their first impressions."""
        ripe = (self.first > 1) & (self.windows - self.first + 1 >= patience)
        return self.items[ripe], self.early[ripe]
