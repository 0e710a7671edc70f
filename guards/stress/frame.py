"""How the columns of a row lie as an image, and what its darkest and brightest are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from guards.verdict import Rows

Images = NDArray[np.float64]  # (n, channels, height, width), in [0, 1]

LEAST_SIDE = 8  # pixels; a smaller grid of numbers is a table
MOST_CHANNELS = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """Unfolds rows into images between 0 and 1, and folds them back."""

    shape: tuple[int, ...]  # (height, width), with channels in front or behind
    low: float
    high: float
    whole: bool  # pixels are whole numbers

    @classmethod
    def of(cls, shape: Sequence[int], rows: Rows) -> Self | None:
        """Read the frame off reference rows, shape (n, pixels); None where they are no images.

        A row of two dimensions is an image, one of three if its first or last are at
        most four channels; each side must be at least 8.
        """
        seen = rows[np.isfinite(rows)]
        if not is_image(shape) or not len(seen) or seen.min() == seen.max():
            return None
        whole = bool((seen == np.rint(seen)).all() and np.ptp(seen) > 1)
        return cls(tuple(shape), float(seen.min()), float(seen.max()), whole)

    def unfold(self, rows: Rows) -> Images:
        """Turn rows (n, pixels) into images; what lies beyond the range is cut off."""
        images = rows.reshape(-1, *self.shape).astype(np.float64)
        if len(self.shape) == 2:
            images = images[:, None]
        elif not _channels_first(self.shape):
            images = np.moveaxis(images, -1, 1)
        return np.asarray(np.clip((images - self.low) / (self.high - self.low), 0, 1))

    def fold(self, images: Images) -> Rows:
        """Turn images into rows again, in the unit the pixels had."""
        if len(self.shape) == 3 and not _channels_first(self.shape):
            images = np.moveaxis(images, 1, -1)
        rows = self.low + (self.high - self.low) * np.clip(images, 0, 1)
        return (np.rint(rows) if self.whole else rows).reshape(len(images), -1)


def is_image(shape: Sequence[int]) -> bool:
    """Tell whether a row of this shape is an image."""
    if len(shape) == 3:
        channels = shape[0] if _channels_first(shape) else shape[-1]
        sides = shape[1:] if _channels_first(shape) else shape[:-1]
        return channels <= MOST_CHANNELS and min(sides) >= LEAST_SIDE
    return len(shape) == 2 and min(shape) >= LEAST_SIDE


def _channels_first(shape: Sequence[int]) -> bool:
    return len(shape) == 3 and shape[0] <= MOST_CHANNELS
