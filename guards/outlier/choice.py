"""Which scores to mix for one model, chosen without labels."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from guards.outlier.detector import Detector
from guards.stress.probes import PROBES
from guards.verdict import Rows

Name = TypeVar("Name", bound=str)
Spoil = Callable[[NDArray[np.intp]], Iterable[Rows]]
"""Gives reference rows, by number, as they would come if they were spoilt; once per probe."""

# What nearly belongs tells detectors apart; what is far out is seen by all of them.
TELLING = (
    "column_shuffle", "partial_replacement", "jitter", "stale", "unit_error_10", "swapped_columns",
)  # fmt: skip
PROBED_ROWS = 500
FITTED_ROWS = 2000  # enough to rank a few candidates
MARGIN = 0.03  # by how much another must do better than the first, which has no blind spots
SEED = 20230102


def choose(
    reference: Rows,
    presets: Sequence[Name],
    fit: Callable[[Rows, Name], Detector],
    spoil: Spoil,
) -> Name:
    """Choose the preset that tells spoilt rows from ordinary ones best, on average over probes.

    The first preset is kept unless another one is better by `MARGIN`.  No row that
    calibrates is looked at: choosing on those would spend the promise.

    Args:
        reference: Rows to learn from, (n, d); a fifth of them is spoilt instead.
        presets: Candidates, the safest first.
        fit: Fits a detector with one of them.
        spoil: Spoils rows of ``reference``.
    """
    if len(presets) == 1:
        return presets[0]
    order = np.random.default_rng(SEED).permutation(len(reference))
    count = min(PROBED_ROWS, len(order) // 5)
    probed, fitted = order[:count], order[count : count + FITTED_ROWS]
    spoilt = list(spoil(probed))
    if not spoilt:
        return presets[0]
    skill = {}
    for preset in presets:
        detector = fit(reference[fitted], preset)
        usual = detector.score(reference[probed])
        skill[preset] = np.mean([separation(usual, detector.score(rows)) for rows in spoilt])
    best = max(presets, key=lambda preset: skill[preset])
    return best if skill[best] > skill[presets[0]] + MARGIN else presets[0]


def separation(usual: NDArray[np.float64], strange: NDArray[np.float64]) -> float:
    """Chance that a strange score exceeds a usual one, ties counting half: the AUROC."""
    ordered = np.sort(usual)
    below, not_above = (np.searchsorted(ordered, strange, side) for side in ("left", "right"))
    return float((below + not_above).mean() / (2 * len(usual)))


def spoil_rows(reference: Rows, probes: Sequence[str] = TELLING) -> Spoil:
    """Spoil rows that are what the guard judges."""

    def spoil(picked: NDArray[np.intp]) -> Iterable[Rows]:
        rng = np.random.default_rng(SEED)
        return [PROBES[name](reference[picked], rng) for name in probes]

    return spoil
