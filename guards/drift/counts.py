"""Counts that merge: any partition, order or repetition of their parts gives the same bytes.

Every replica counts up and never down.  What it reports is its total so far, under its name
and its epoch (it takes a new one when it starts again).  Merging keeps the larger of two
reports of one source and adds up over sources: a report may be lost, repeated or late.

Source: Shapiro et al. (2011), "A comprehensive study of convergent and commutative replicated
data types", INRIA RR-7506, section 3.1.1 (grow-only counter).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from guards.drift.cells import CELLS, Counts

Source = tuple[str, str]  # replica, epoch


@dataclass(frozen=True, slots=True)
class Ledger:
    """The latest totals of every source."""

    channels: int
    totals: Mapping[Source, Counts] = field(default_factory=lambda: MappingProxyType({}))

    def report(self, source: Source, total: Counts) -> "Ledger":
        """Take in what a source has counted so far.

        Raises:
            ValueError: it is not a table of counts of as many channels.
        """
        if total.shape != (self.channels, CELLS) or (total < 0).any():
            raise ValueError(f"expected counts of {self.channels} channels, got {total.shape}")
        known = self.totals.get(source)
        grown = total if known is None else np.maximum(known, total)
        return Ledger(self.channels, MappingProxyType({**self.totals, source: grown}))

    def merge(self, *others: "Ledger") -> "Ledger":
        """Join with what others know."""
        merged = self
        for other in others:
            for source, total in other.totals.items():
                merged = merged.report(source, total)
        return merged

    def total(self) -> Counts:
        """Add up over all sources."""
        nothing = np.zeros((self.channels, CELLS), np.int64)
        return sum(self.totals.values(), start=nothing)

    def to_bytes(self) -> bytes:
        """Write the whole state; equal states give equal bytes."""
        return b"".join(self._pieces())

    def _pieces(self) -> Iterable[bytes]:
        for source in sorted(self.totals):
            for text in source:
                encoded = text.encode()
                yield len(encoded).to_bytes(4, "little") + encoded
            yield self.totals[source].astype("<i8").tobytes()
