"""Measures of probabilities with an interval that stays valid however often one looks."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from guards.quality.confidence import confidence_sequence
from guards.quality.measured import LEAST_ROWS, PLANNED_ROWS, Measured
from guards.quality.offpolicy.anytime import asymptotic_sequence
from guards.quality.offpolicy.estimate import Estimate
from guards.quality.scored import LEAST, Floats, Labels, auroc, brier, calibration_error, log_loss

NOWHERE = float("nan")
LARGEST_BRIER = 2.0
LARGER_IS_BETTER = {"auroc": True, "log_loss": False, "brier": False}  # that have intervals


def measure_scored(probabilities: Floats, labels: Labels, *, alpha: float) -> list[Measured]:
    """Measure probabilities (n, classes) against classes (n,), n >= 1.

    The Brier score is a mean of values in [0, 2] and has a betting interval; the log loss and the
    AUROC of two classes have asymptotic ones.  The calibration error has none: it is biased
    upwards, by less the more rows there are.
    """
    n = len(labels)
    losses = ((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1)
    low, high = confidence_sequence(float(losses.sum()) / LARGEST_BRIER, n, alpha=alpha)
    surprise = -np.log(np.maximum(probabilities[np.arange(n), labels], LEAST))
    right = probabilities.argmax(axis=1) == labels
    gap = calibration_error(probabilities.max(axis=1), right)
    found = [
        Measured(
            "brier", n, brier(probabilities, labels), LARGEST_BRIER * low, LARGEST_BRIER * high
        ),
        _asymptotic("log_loss", log_loss(probabilities, labels), surprise - surprise.mean(), alpha),
        Measured("calibration_error", n, gap, NOWHERE, NOWHERE),
    ]
    if probabilities.shape[1] == 2 and len(np.unique(labels)) == 2:
        scores, positive = probabilities[:, 1], labels == 1
        pulls = auroc_pulls(scores, positive)
        found.append(_asymptotic("auroc", auroc(scores, positive), pulls, alpha))
    return found


def _asymptotic(name: str, value: float, pulls: Floats, alpha: float) -> Measured:
    if len(pulls) < LEAST_ROWS:
        return Measured(name, len(pulls), value, NOWHERE, NOWHERE)
    interval = asymptotic_sequence(
        Estimate(name, value, pulls), planned_units=PLANNED_ROWS, alpha=alpha
    )
    return Measured(name, len(pulls), value, interval.low, interval.high)


def auroc_pulls(scores: Floats, positive: NDArray[np.bool_]) -> Floats:
    """First-order change of the AUROC by each row, times n; mean 0.

    Source: DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44: the placements of rows among
    those of the other kind; with the midranks of Sun and Xu (2014).
    """
    n, n_positive = len(scores), int(positive.sum())
    ranks = rankdata(scores)
    placed = np.empty(n)
    placed[positive] = (ranks[positive] - rankdata(scores[positive])) / (n - n_positive)
    placed[~positive] = 1 - (ranks[~positive] - rankdata(scores[~positive])) / n_positive
    shares = np.where(positive, n_positive / n, 1 - n_positive / n)
    return np.asarray((placed - auroc(scores, positive)) / shares)
