"""The mean loss of all rows, from labels of some and predictions for all: PPI++.

Source: Angelopoulos, Duchi, Zrnic (2023), "PPI++: efficient prediction-powered inference", arXiv
2311.01453, with propensities after Zrnic and Candès (2024); the power tuning λ makes the variance
least, so that useless predictions cost nothing.  A second control takes out the luck of how many
rows were drawn.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from guards.quality.offpolicy.anytime import asymptotic_sequence
from guards.quality.offpolicy.estimate import Estimate
from guards.quality.offpolicy.interval import Interval

Floats = NDArray[np.float64]

PLANNED_ROWS = 10_000  # rows, labelled or not, at which the anytime interval is tightest
LEAST_LABELS = 30  # the intervals rest on the central limit theorem


@dataclass(frozen=True, slots=True)
class Audited:
    """The mean loss over all rows."""

    loss: float
    interval: Interval  # at one look
    anytime: Interval  # at all looks together
    tuning: float  # λ: 0 ignores the predictions, 1 takes them for labels
    labels: int
    classical_width: float  # of the interval without predictions, from the same labels


def audited_loss(
    loss: Floats,
    labelled: NDArray[np.bool_],
    propensity: Floats,
    predicted: Floats,
    *,
    alpha: float,
) -> Audited | None:
    """Estimate the mean loss of all rows; None with fewer than 30 labels.

    Args:
        loss: Shape (n,), read where ``labelled``.
        labelled: Shape (n,), drawn by ``propensity``, each row by itself.
        propensity: Shape (n,), in (0, 1].
        predicted: Shape (n,), what the loss was expected to be, before anybody looked.
        alpha: Of each interval.
    """
    labels, n = int(labelled.sum()), len(loss)
    if labels < LEAST_LABELS:
        return None
    weight = np.where(labelled, 1 / propensity, 0.0)
    plain = weight * np.where(labelled, loss, 0.0)
    missing = 1 - weight  # its mean is 0 but for the luck of how many were drawn
    size = missing[:, None]
    unaided, _ = _controlled(plain, size)
    terms, tuning = _controlled(plain, np.column_stack([size, missing * predicted]))
    z = float(norm.ppf(1 - alpha / 2))
    value = float(terms.mean())
    half = z * float(terms.std(ddof=1)) / np.sqrt(n)
    estimate = Estimate("ppi++", value, terms - value)
    return Audited(
        value,
        Interval(value - half, value + half, alpha, anytime=False),
        asymptotic_sequence(estimate, planned_units=PLANNED_ROWS, alpha=alpha),
        tuning,
        labels,
        2 * z * float(unaided.std(ddof=1)) / np.sqrt(n),
    )


def _controlled(plain: Floats, controls: Floats) -> tuple[Floats, float]:
    """Subtract what controls, (n, k) with mean 0 in expectation, explain of ``plain``.

    Returns:
        Terms with the same expected mean and the least variance, and the last coefficient.
    """
    centred = controls - controls.mean(axis=0)
    coefficients = np.linalg.lstsq(centred, plain - plain.mean(), rcond=None)[0]
    return np.asarray(plain - controls @ coefficients), -float(coefficients[-1])
