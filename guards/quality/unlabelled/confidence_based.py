"""Accuracy from confidence: CBPE, DoC and ATC."""

import numpy as np

from guards.quality.unlabelled.isotonic import Floats, fit_curve
from guards.quality.unlabelled.source import Labelled, Unlabelled

TINY = 1e-12


def cbpe(source: Labelled, traffic: Unlabelled) -> float:
    """Confidence-based performance estimation: the mean of calibrated confidence.

    Assumes that confidence means on traffic what it meant on the held-out rows: only the mix of
    easy and hard rows may change.

    Source: the method of that name in nannyml; with isotonic calibration.
    """
    return float(fit_curve(source.confidence, source.right)(traffic.confidence).mean())


def doc(source: Labelled, traffic: Unlabelled) -> float:
    """Difference of confidences: accuracy falls by as much as mean confidence does.

    Source: Guillory et al. (2021), "Predicting with confidence on unseen distributions", ICCV.
    """
    fall = float(source.confidence.mean() - traffic.confidence.mean())
    return float(np.clip(source.right.mean() - fall, 0.0, 1.0))


def atc(source: Labelled, traffic: Unlabelled) -> float:
    """Average thresholded confidence: the share of rows surer than a threshold.

    The threshold is where that share of the held-out rows is their accuracy.  The score is the
    negative entropy.

    Source: Garg et al. (2022), "Leveraging unlabeled data to predict out-of-distribution
    performance", ICLR.
    """
    of_source = _negative_entropy(source.probabilities)
    threshold = np.quantile(of_source, 1 - float(source.right.mean()))
    return float(np.mean(_negative_entropy(traffic.probabilities) >= threshold))


def expected_confusion(source: Labelled, traffic: Unlabelled) -> Floats:
    """Estimate how many rows of each predicted class (first axis) have each label, by CBPE.

    Each class is calibrated by itself, and a row's probabilities made to add up to 1.
    """
    classes = source.probabilities.shape[1]
    calibrated = np.column_stack(
        [
            fit_curve(source.probabilities[:, k], source.labels == k)(traffic.probabilities[:, k])
            for k in range(classes)
        ]
    )
    total = calibrated.sum(axis=1, keepdims=True)
    shares = np.where(total > TINY, calibrated / np.maximum(total, TINY), 1 / classes)
    predicted = traffic.probabilities.argmax(axis=1)
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, predicted, shares)
    return confusion


def _negative_entropy(probabilities: Floats) -> Floats:
    return np.asarray((probabilities * np.log(np.maximum(probabilities, TINY))).sum(axis=1))
