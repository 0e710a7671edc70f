"""Measures of probabilities and scores against labels: ranking power, and calibration."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

BINS = 10
LEAST = 1e-12  # stands for a probability of 0, whose logarithm is -inf


def auroc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """Chance that a positive row scores above a negative one, ties half; NaN without both.

    Args:
        scores: Shape (n,).
        positive: Shape (n,).
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    ranks = rankdata(scores)[positive].sum()
    return float((ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def log_loss(probabilities: Floats, labels: Labels) -> float:
    """Mean surprise at the labels in nats, of probabilities (n, classes) and classes (n,)."""
    of_label = probabilities[np.arange(len(labels)), labels]
    return float(-np.mean(np.log(np.maximum(of_label, LEAST))))


def brier(probabilities: Floats, labels: Labels) -> float:
    """Mean squared distance of probabilities (n, classes) to the labels, in [0, 2].

    Source: Brier (1950), "Verification of forecasts expressed in terms of probability".
    """
    truth = np.eye(probabilities.shape[1])[labels]
    return float(np.mean(((probabilities - truth) ** 2).sum(axis=1)))


def calibration_error(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """Expected calibration error over ten bins with equally many rows.

    Args:
        confidence: Shape (n,), probability that the answer is right.
        right: Shape (n,).

    Source: Naeini, Cooper, Hauskrecht (2015), AAAI; with bins of equal mass, whose bias is less
    (Roelofs et al., 2022).
    """
    order = np.argsort(confidence, kind="stable")
    gap = 0.0
    for rows in np.array_split(order, min(BINS, len(order))):
        gap += len(rows) * abs(float(confidence[rows].mean() - right[rows].mean()))
    return gap / len(order) if len(order) else float("nan")
