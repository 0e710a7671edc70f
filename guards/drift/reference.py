"""What ordinary traffic looks like: the cells of each channel, and how full they were."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from guards.drift.cells import EDGES, Counts, Layout, count
from guards.drift.thinning import design_effect
from guards.verdict import Vector

HALF_GRID = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075)
# With the least and the greatest value 33 edges: finest where gross errors show first.
GRID = (*HALF_GRID, *(round(0.05 * k, 2) for k in range(2, 19)), *(1 - q for q in HALF_GRID[::-1]))
ATOM_SHARE = 1 / 40  # a value this frequent has a cell of its own
ATOMS_MAX = 14  # two edges each; the rest is left to quantiles
P_VALUE_EDGES = (0.001, 0.01, 0.05, *(round(0.1 * k, 1) for k in range(1, 10)), 0.99)
BLOCK_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Channel:
    """One number per row to watch, with what it was on the reference rows."""

    name: str
    values: Vector  # (n,); NaN is missing
    kind: Literal["numeric", "categorical", "p_value"] = "numeric"


@dataclass(frozen=True, slots=True)
class Reference:
    """Cells and reference counts of every channel."""

    layout: Layout
    counts: Counts
    ranked: NDArray[np.bool_]  # (channels, EDGES): the edge is an order statistic without ties
    design: NDArray[np.float64]  # (channels,), the design effect of ordinary traffic, >= 1

    @classmethod
    def fit(cls, channels: Sequence[Channel], *, time_ordered: bool = False) -> "Reference":
        """Learn the cells of each channel; channels may have different numbers of values.

        Args:
            channels: At least one, each with at least one value.
            time_ordered: The values are in the order in which they came: then the design
                effect is estimated from them.  Otherwise it is 1.

        Raises:
            ValueError: a channel has no values.
        """
        for channel in channels:
            if not len(channel.values):
                raise ValueError(f"no reference values of {channel.name}")
        cells = [_cells(channel) for channel in channels]
        rare = max((len(found.rare) for found in cells), default=0)
        layout = Layout(
            tuple(channel.name for channel in channels),
            np.array([_padded(found.edges, EDGES, np.inf) for found in cells]),
            np.array([channel.kind == "categorical" for channel in channels]),
            np.array([_padded(found.rare, rare, np.nan) for found in cells]),
        )
        codes = [_column_codes(layout, i, channel.values) for i, channel in enumerate(channels)]
        return cls(
            layout,
            np.stack([count(column[:, None])[0] for column in codes]),
            np.array([_padded(found.ranked, EDGES, False) for found in cells], bool),
            np.array([design_effect(column) if time_ordered else 1.0 for column in codes]),
        )

    def __len__(self) -> int:
        """Count the channels."""
        return len(self.counts)

    @property
    def n(self) -> NDArray[np.int64]:
        """Reference values per channel."""
        sizes: NDArray[np.int64] = self.counts.sum(axis=1)
        return sizes

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give up everything that was learnt, as arrays that need no pickle."""
        return {
            "names": np.array(self.layout.names, np.str_),
            "edges": self.layout.edges,
            "categorical": self.layout.categorical,
            "rare": self.layout.rare,
            "counts": self.counts,
            "ranked": self.ranked,
            "design": self.design,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Reference":
        """Rebuild the reference that gave ``arrays``."""
        names = tuple(str(name) for name in arrays["names"])
        layout = Layout(names, arrays["edges"], arrays["categorical"], arrays["rare"])
        return cls(layout, arrays["counts"], arrays["ranked"], arrays["design"])


@dataclass(frozen=True, slots=True)
class _Cells:
    edges: NDArray[np.float64]
    ranked: NDArray[np.bool_]
    rare: NDArray[np.float64]


def _cells(channel: Channel) -> _Cells:
    none = np.empty(0)
    if channel.kind == "p_value":
        edges = np.array(P_VALUE_EDGES)
        return _Cells(edges, np.zeros(len(edges), bool), none)
    finite = np.sort(np.asarray(channel.values, np.float64))
    finite = finite[np.isfinite(finite)]
    values, times = np.unique(finite, return_counts=True)
    if channel.kind == "categorical":
        by_times = values[np.lexsort((values, -times))]
        kept = np.sort(by_times[:EDGES])
        return _Cells(kept, np.zeros(len(kept), bool), np.sort(by_times[EDGES:]))
    if not len(finite):
        return _Cells(none, np.empty(0, bool), none)
    edges = _numeric_edges(finite, values, times)
    place = np.minimum(values.searchsorted(edges), len(values) - 1)
    ranked = (values[place] == edges) & (times[place] == 1)
    return _Cells(edges, ranked, none)


def _numeric_edges(
    finite: NDArray[np.float64], values: NDArray[np.float64], times: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Put an edge at each quantile of the grid, and two around each atom.

    A quantile that falls on an atom is that atom's upper edge anyway.
    """
    n = len(finite)
    heavy = np.flatnonzero(times >= max(2.0, ATOM_SHARE * n))
    heavy = heavy[np.argsort(-times[heavy], kind="stable")][:ATOMS_MAX]
    atoms = values[heavy]
    musts = np.unique(np.concatenate([finite[[0, -1]], atoms, np.nextafter(atoms, -np.inf)]))
    ranks = np.clip(np.rint(np.array(GRID) * (n + 1)).astype(int), 1, n)
    wishes = np.setdiff1d(finite[ranks - 1], musts)
    room = max(EDGES - len(musts), 0)
    if len(wishes) > room:
        wishes = wishes[np.linspace(0, len(wishes) - 1, room).astype(int)]
    return np.union1d(musts, wishes)


def _column_codes(layout: Layout, channel: int, values: Vector) -> NDArray[np.intp]:
    one = slice(channel, channel + 1)
    single = Layout(layout.names[one], layout.edges[one], layout.categorical[one], layout.rare[one])
    return single.codes(np.asarray(values, np.float64)[:, None])[:, 0]


def _padded(values: NDArray[Any], length: int, filler: float | bool) -> NDArray[Any]:
    return np.concatenate([values, np.full(length - len(values), filler)])
