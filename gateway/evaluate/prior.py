"""Whether classes became more or less frequent, by what the model answers."""

import numpy as np

from gateway.evaluate.captured import Captured
from guards.drift.prior import (
    UNIMPORTANT,
    AmbiguousClassesError,
    PriorShift,
    bbse_shift,
    mlls_shift,
)
from guards.quality.unlabelled.source import Labelled
from guards.quality.unlabelled.spread import LEAST_ROWS
from guards.settings import Settings

MOST_CLASSES = 50  # beyond, a confusion matrix of some thousand rows is mostly empty
MLLS_NUMBERS = 10_000  # rows times classes of either kind: a bootstrap within seconds
LABEL_SHIFT = (
    "P(input | class) is what it was on the held-out rows and only the classes' frequencies "
    "changed; under any other drift these ratios are wrong"
)


class ClassShift(Settings):
    """How often one class is now, over how often it was."""

    label: int
    ratio: float
    low: float
    high: float | None  # None: no bound
    shifted: bool  # the whole interval lies outside of what is unimportant


class PriorReport(Settings):
    """One estimate of the ratios of all classes, or why there is none."""

    method: str  # bbse or mlls
    rows: int
    alarm: bool  # at least one class shifted
    classes: tuple[ClassShift, ...]
    refused: str = ""
    unimportant: tuple[float, float] = UNIMPORTANT
    assumption: str = LABEL_SHIFT


def judge_prior(
    source: Labelled, captured: Captured, *, seed: int = 0, alpha: float
) -> tuple[PriorReport, ...]:
    """Compare the frequencies of classes in traffic with those of the held-out rows.

    Both estimates, with bootstrap intervals at ``1 - alpha`` over all classes at this one look;
    none with too few rows, or too many classes.
    """
    traffic, classes = captured.probabilities, source.probabilities.shape[1]
    if traffic is None or classes > MOST_CLASSES:
        return ()
    if min(len(traffic), len(source.labels)) < LEAST_ROWS:
        return ()
    rng = np.random.default_rng(seed)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (source.probabilities.argmax(axis=1), source.labels), 1)
    predicted = np.bincount(traffic.argmax(axis=1), minlength=classes)
    try:
        shift = bbse_shift(confusion, predicted, rng=rng, alpha=alpha)
        found = [_told("bbse", shift, len(traffic))]
    except (AmbiguousClassesError, np.linalg.LinAlgError) as error:
        refused = str(error)
        found = [
            PriorReport(method="bbse", rows=len(traffic), alarm=False, classes=(), refused=refused)
        ]
    most = max(LEAST_ROWS, MLLS_NUMBERS // classes)
    held, seen = (np.sort(rng.permutation(n)[:most]) for n in (len(source.labels), len(traffic)))
    likely = mlls_shift(
        source.probabilities[held], source.labels[held], traffic[seen], rng=rng, alpha=alpha
    )
    return (*found, _told("mlls", likely, len(seen)))


def _told(method: str, shift: PriorShift, rows: int) -> PriorReport:
    return PriorReport(
        method=method,
        rows=rows,
        alarm=bool(shift.shifted.any()),
        classes=tuple(
            ClassShift(
                label=label,
                ratio=float(shift.ratios[label]),
                low=float(shift.low[label]),
                high=float(shift.high[label]) if np.isfinite(shift.high[label]) else None,
                shifted=bool(shift.shifted[label]),
            )
            for label in range(len(shift.ratios))
        ),
    )
