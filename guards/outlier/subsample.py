"""Which rows of a large reference are kept."""

import numpy as np
from numpy.typing import NDArray

from guards.verdict import Rows

SEED = 20230101  # the same reference and settings give the same guard
RANDOM_SHARE = 0.2  # of the rows kept, so that rows stay dense where they were dense
SKETCH_COLUMNS = 32  # rows are compared in so many random projections
POOL_FACTOR = 4  # rows considered per row kept: more would cost more than they add


def subsample(rows: Rows, usable: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Choose ``count`` of the ``usable`` rows (all, if there are no more), in their order.

    Most are chosen by herding: one after the other, whichever keeps the mean of what was
    chosen nearest to the mean of all, in random Fourier features of the rows.  That
    represents a distribution better than chance does; the others are drawn by
    chance.  What is chosen must be calibrated after, never before.

    Source: Chen, Welling, Smola (2010), "Super-samples from kernel herding", UAI.
    """
    if len(usable) <= count:
        return usable
    rng = np.random.default_rng(SEED)
    pool = rng.permutation(usable)[: POOL_FACTOR * count]
    by_chance = round(RANDOM_SHARE * count)
    herded = _herd(_features(rows[pool[by_chance:]], rng), count - by_chance)
    return np.sort(np.concatenate([pool[:by_chance], pool[by_chance:][herded]]))


def _features(rows: Rows, rng: np.random.Generator) -> NDArray[np.float32]:
    """Map rows to random Fourier features of a Gaussian kernel as wide as the rows lie apart."""
    filled = np.nan_to_num(np.asarray(rows, np.float64))
    spread = filled.std(axis=0)
    standard = (filled - filled.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    frequencies = rng.normal(size=(standard.shape[1], SKETCH_COLUMNS)) / np.sqrt(standard.shape[1])
    angles = np.clip(standard, -50, 50) @ frequencies
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1, dtype=np.float32)


def _herd(features: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Choose rows of ``features`` so that their mean follows the mean of all."""
    target = features.mean(axis=0)
    pull = target.copy()
    is_free = np.zeros(len(features), np.float32)  # -inf once chosen
    chosen = np.empty(count, np.intp)
    for at in range(count):
        best = int((features @ pull + is_free).argmax())
        chosen[at] = best
        is_free[best] = -np.inf
        pull += target - features[best]
    return chosen
