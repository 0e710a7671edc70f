"""Rows that do not belong, to show what the guards see."""

import numpy as np

from guards.verdict import Rows

SIDE = 8  # pixels of a digit
BRIGHTEST = 16.0


def strange_digits(rows: Rows, *, seed: int = 0) -> dict[str, Rows]:
    """Spoil digits, shape (n, 64), in each of four ways: kind -> rows, shape (n, 64)."""
    rng = np.random.default_rng(seed)
    images = rows.reshape(-1, SIDE, SIDE)
    return {
        "blank": np.zeros_like(rows),
        "noise": rng.integers(0, int(BRIGHTEST) + 1, rows.shape).astype(rows.dtype),
        "inverted": BRIGHTEST - rows,
        "rotated": np.rot90(images, axes=(1, 2)).reshape(rows.shape),  # a quarter turn
    }


def strange_measurements(rows: Rows, *, seed: int = 0) -> dict[str, Rows]:
    """Spoil measurements, shape (n, d): another unit, and one value of each row lost."""
    rng = np.random.default_rng(seed)
    lost = rows.copy()
    lost[np.arange(len(rows)), rng.integers(0, rows.shape[1], len(rows))] = np.nan
    return {"times 10": rows * np.float32(10), "NaN": lost}
