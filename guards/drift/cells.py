"""Into which cell a value falls.  START here in this folder.

What is watched is a *channel*: one number per row, be it a feature, an output or the
p-value of the outlier guard.  Traffic is remembered only as the number of values in each of
37 cells per channel: whole numbers, which add up to the same whatever the order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.errors import ShapeMismatchError

EDGES = 33  # between 34 cells of finite values: two beyond the reference, 32 between
OTHER = EDGES  # of a categorical channel: known, but not among the most frequent
MISSING, NONFINITE, UNSEEN = EDGES + 1, EDGES + 2, EDGES + 3
CELLS = EDGES + 4

Codes = NDArray[np.intp]  # (n, channels), the cell of each value
Counts = NDArray[np.int64]  # (channels, CELLS)

_BROADCAST_ROWS = 32  # fewer rows are compared with all edges at once; measured, see `codes`


@dataclass(frozen=True, slots=True)
class Layout:
    """The cells of every channel.

    A number falls into cell ``#{edges < x}``, so cells are closed above; a category into
    the cell of its position.
    """

    names: tuple[str, ...]
    edges: NDArray[np.float64]  # (channels, EDGES), ascending, +inf beyond the last
    categorical: NDArray[np.bool_]  # (channels,); then ``edges`` are the categories
    rare: NDArray[np.float64]  # (channels, r), known categories without a cell, NaN beyond

    def codes(self, values: NDArray[np.floating]) -> Codes:
        """Find the cell of each value, shape (n, channels); NaN is missing, not dropped.

        Raises:
            ShapeMismatchError: there is not one column per channel.
        """
        if values.ndim != 2 or values.shape[1] != len(self.names):
            raise ShapeMismatchError("drift", len(self.names), values.shape)
        exact = np.asarray(values, np.float64)  # edges may lie between two float32
        found = self._compare(exact)
        if self.categorical.any():
            self._match(exact, found)
        finite = np.isfinite(exact)
        if not finite.all():
            found[~finite] = np.where(np.isnan(exact[~finite]), MISSING, NONFINITE)
        return found

    def _compare(self, values: NDArray[np.float64]) -> Codes:
        """Count the edges below each value, whichever way is quicker."""
        if len(values) <= _BROADCAST_ROWS:
            below: Codes = np.add.reduce(values[:, :, None] > self.edges, axis=2, dtype=np.intp)
            return below
        found = np.empty(values.shape, np.intp)
        for channel, edges in enumerate(self.edges):
            found[:, channel] = edges.searchsorted(values[:, channel])
        return found

    def _match(self, values: NDArray[np.float64], found: Codes) -> None:
        """Move what is no category, or a rare one, to its cell; changes ``found``."""
        for channel in np.flatnonzero(self.categorical):
            column, position = values[:, channel], found[:, channel]
            known = self.edges[channel][np.minimum(position, EDGES - 1)] == column
            rare = np.isin(column, self.rare[channel])
            position[~known] = np.where(rare[~known], OTHER, UNSEEN)


def count(codes: Codes) -> Counts:
    """Count the values in each cell of each channel, from codes of shape (n, channels)."""
    channels = codes.shape[1]
    flat = (codes + np.arange(channels) * CELLS).ravel()
    return np.bincount(flat, minlength=channels * CELLS).reshape(channels, CELLS)


def text_codes(texts: Sequence[Any]) -> NDArray[np.float64]:
    """Give each text a number of its own, so that texts are categories; None is missing.

    48 bits of a hash, exact in a float64: two of 1000 categories collide with probability
    2e-9.
    """
    return np.array([np.nan if text is None else _text_code(str(text)) for text in texts])


def _text_code(text: str) -> float:
    return float(int.from_bytes(blake2b(text.encode(), digest_size=6).digest(), "big"))
