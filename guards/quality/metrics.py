"""Measures of right and wrong, by the name an expectation uses, and how each row pulls on them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]  # (n,), classes or numbers
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Metric:
    """How well predictions agree with labels."""

    name: str
    function: Callable[[Values, Values], float]  # (predicted, labels), at least one row
    pulls: Callable[[Values, Values], Floats]  # first-order change by each row, times n; mean 0
    larger_is_better: bool
    bounded_mean: bool  # a mean of values in [0, 1]: a confidence sequence exists

    def __call__(self, predicted: Values, labels: Values) -> float:
        """Measure n predictions against n labels; NaN if there are none.

        Raises:
            ValueError: not one label per prediction.
        """
        if predicted.shape != labels.shape or predicted.ndim != 1:
            raise ValueError(f"{predicted.shape} predictions for {labels.shape} labels")
        return self.function(predicted, labels) if len(labels) else float("nan")


def accuracy(predicted: Values, labels: Values) -> float:
    """Share of predictions that are the label."""
    return float(np.mean(predicted == labels))


def error_rate(predicted: Values, labels: Values) -> float:
    """Share of predictions that are not the label."""
    return float(np.mean(predicted != labels))


def balanced_accuracy(predicted: Values, labels: Values) -> float:
    """Accuracy within each class that has a label, averaged over classes."""
    right = predicted == labels
    return float(np.mean([right[labels == kind].mean() for kind in np.unique(labels)]))


def macro_f1(predicted: Values, labels: Values) -> float:
    """F1 of each class that was predicted or is a label, averaged over classes."""
    scores = []
    for kind in np.union1d(predicted, labels):
        said, is_so = predicted == kind, labels == kind
        scores.append(2 * np.sum(said & is_so) / (said.sum() + is_so.sum()))
    return float(np.mean(scores))


def mae(predicted: Values, labels: Values) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(_gap(predicted, labels))))


def mse(predicted: Values, labels: Values) -> float:
    """Mean squared error."""
    return float(np.mean(_gap(predicted, labels) ** 2))


def rmse(predicted: Values, labels: Values) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(mse(predicted, labels)))


def r2(predicted: Values, labels: Values) -> float:
    """Share of the labels' variance that is explained; NaN if they do not vary."""
    spread = float(np.var(labels.astype(np.float64)))
    return 1 - mse(predicted, labels) / spread if spread > 0 else float("nan")


def _gap(predicted: Values, labels: Values) -> NDArray[np.float64]:
    """Subtract in float64: unsigned integers would wrap around."""
    return np.asarray(predicted.astype(np.float64) - labels.astype(np.float64))


def _right(predicted: Values, labels: Values) -> Floats:
    right = (predicted == labels).astype(np.float64)
    return np.asarray(right - right.mean())


def _wrong(predicted: Values, labels: Values) -> Floats:
    return -_right(predicted, labels)


def _recalls(predicted: Values, labels: Values) -> Floats:
    right = (predicted == labels).astype(np.float64)
    kinds, group, count = np.unique(labels, return_inverse=True, return_counts=True)
    recalls = np.bincount(group, right) / count
    return np.asarray((right - recalls[group]) * len(labels) / count[group] / len(kinds))


def _f1s(predicted: Values, labels: Values) -> Floats:
    kinds = np.union1d(predicted, labels)
    pulls = np.zeros(len(labels))
    for kind in kinds:
        said, is_so = (predicted == kind).astype(float), (labels == kind).astype(float)
        size = said.sum() + is_so.sum()
        f1 = 2 * (said @ is_so) / size
        pulls += (2 * said * is_so - f1 * (said + is_so)) * len(labels) / size
    return pulls / len(kinds)


def _absolute(predicted: Values, labels: Values) -> Floats:
    return np.asarray(np.abs(_gap(predicted, labels)) - mae(predicted, labels))


def _squares(predicted: Values, labels: Values) -> Floats:
    return np.asarray(_gap(predicted, labels) ** 2 - mse(predicted, labels))


def _roots(predicted: Values, labels: Values) -> Floats:
    root = rmse(predicted, labels)
    return _squares(predicted, labels) / (2 * root) if root else np.zeros(len(labels))


def _explained(predicted: Values, labels: Values) -> Floats:
    values = labels.astype(np.float64)
    squares, spread = _gap(predicted, labels) ** 2, np.var(values)
    if not spread > 0:
        return np.full(len(labels), np.nan)
    return np.asarray((squares.mean() / spread * (values - values.mean()) ** 2 - squares) / spread)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", accuracy, _right, larger_is_better=True, bounded_mean=True),
        Metric("error_rate", error_rate, _wrong, larger_is_better=False, bounded_mean=True),
        Metric(
            "balanced_accuracy",
            balanced_accuracy,
            _recalls,
            larger_is_better=True,
            bounded_mean=False,
        ),
        Metric("macro_f1", macro_f1, _f1s, larger_is_better=True, bounded_mean=False),
        Metric("mae", mae, _absolute, larger_is_better=False, bounded_mean=False),
        Metric("mse", mse, _squares, larger_is_better=False, bounded_mean=False),
        Metric("rmse", rmse, _roots, larger_is_better=False, bounded_mean=False),
        Metric("r2", r2, _explained, larger_is_better=True, bounded_mean=False),
    )
}
OF_CLASSES = ("accuracy", "error_rate", "balanced_accuracy", "macro_f1")
OF_NUMBERS = ("mae", "mse", "rmse", "r2")
