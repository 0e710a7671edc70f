"""Metrics agree with scikit-learn's."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as oracle

from guards.quality.metrics import METRICS

CLASSES = np.random.default_rng(0).integers(0, 4, (2, 200))
NUMBERS = np.random.default_rng(1).normal(size=(2, 200))

ORACLES: dict[str, tuple[np.ndarray, Callable[..., float]]] = {
    "accuracy": (CLASSES, oracle.accuracy_score),
    "error_rate": (CLASSES, oracle.zero_one_loss),
    "balanced_accuracy": (CLASSES, oracle.balanced_accuracy_score),
    "macro_f1": (CLASSES, lambda labels, said: oracle.f1_score(labels, said, average="macro")),
    "mae": (NUMBERS, oracle.mean_absolute_error),
    "mse": (NUMBERS, oracle.mean_squared_error),
    "rmse": (NUMBERS, oracle.root_mean_squared_error),
    "r2": (NUMBERS, oracle.r2_score),
}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_what_its_name_says(name: str) -> None:
    (predicted, labels), reference = ORACLES[name]

    assert METRICS[name](predicted, labels) == pytest.approx(reference(labels, predicted))


@pytest.mark.parametrize("name", METRICS)
def test_no_labels_measure_nothing(name: str) -> None:
    assert np.isnan(METRICS[name](np.empty(0), np.empty(0)))


@pytest.mark.parametrize("name", METRICS)
def test_a_perfect_model_is_better_than_one_that_errs(name: str) -> None:
    metric = METRICS[name]
    predicted, labels = ORACLES[name][0]

    assert (metric(labels, labels) > metric(predicted, labels)) == metric.larger_is_better


def test_small_unsigned_numbers_do_not_wrap_around() -> None:
    predicted, labels = np.array([1], np.uint8), np.array([3], np.uint8)

    assert METRICS["mae"](predicted, labels) == 2


def test_one_label_per_prediction_is_asked_for() -> None:
    with pytest.raises(ValueError, match="predictions for"):
        METRICS["accuracy"](np.zeros(3), np.zeros((3, 1)))


def test_only_means_of_values_within_zero_and_one_promise_a_confidence_sequence() -> None:
    assert {name for name, metric in METRICS.items() if metric.bounded_mean} == {
        "accuracy",
        "error_rate",
    }
