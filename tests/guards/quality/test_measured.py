"""Metrics with intervals: right terms, honest ends, slices that are not worst by luck."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.quality.confidence import confidence_sequence
from guards.quality.measured import LEAST_ROWS, measure, measure_slices
from guards.quality.metrics import METRICS, OF_CLASSES, OF_NUMBERS


def drawn(name: str, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    if name in OF_NUMBERS:
        labels = rng.normal(size=n)
        return labels + rng.normal(0, 0.5, n), labels
    labels = rng.choice(3, n, p=[0.6, 0.3, 0.1])
    return np.where(rng.random(n) < 0.8, labels, rng.integers(0, 3, n)), labels


@pytest.mark.parametrize("name", METRICS)
def test_the_pull_of_a_row_is_what_leaving_it_out_changes(name: str) -> None:
    predicted, labels = drawn(name, 400, np.random.default_rng(0))
    metric, n = METRICS[name], 400
    whole, pulls = metric(predicted, labels), METRICS[name].pulls(predicted, labels)
    without = np.array(
        [metric(np.delete(predicted, row), np.delete(labels, row)) for row in range(n)]
    )

    assert pulls.mean() == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose((whole - without) * (n - 1), pulls, atol=0.2, rtol=0.1)


@pytest.mark.parametrize("name", METRICS)
def test_the_true_value_is_rarely_outside_at_any_of_many_looks(name: str) -> None:
    rng = np.random.default_rng(1)
    truth = METRICS[name](*drawn(name, 400_000, rng))
    missed = 0
    for _ in range(200):
        predicted, labels = drawn(name, 800, rng)
        looks = (measure(name, predicted[:n], labels[:n], alpha=0.1) for n in (100, 200, 400, 800))
        missed += any(not look.low <= truth <= look.high for look in looks)

    assert missed <= 0.1 * 200 + 3 * np.sqrt(200 * 0.09)


@pytest.mark.parametrize("name", ["balanced_accuracy", "rmse"])
def test_too_few_labels_give_no_interval(name: str) -> None:
    predicted, labels = drawn(name, LEAST_ROWS - 1, np.random.default_rng(2))

    assert np.isnan(measure(name, predicted, labels, alpha=0.05).low)


def test_the_worst_slice_is_the_one_that_is_surely_bad() -> None:
    rng = np.random.default_rng(3)
    region = rng.choice(["north", "south", "west"], 3000)
    labels = rng.integers(0, 2, 3000)
    predicted = np.where(
        rng.random(3000) < np.where(region == "west", 0.6, 0.9), labels, 1 - labels
    )

    found = measure_slices("accuracy", predicted, labels, {"region": region.tolist()}, alpha=0.05)

    assert found[0].value == "west"
    assert found[0].measured.high < found[1].measured.low


def test_no_slice_of_a_model_that_is_alike_everywhere_is_bad_by_luck() -> None:
    """A hundred slices of an accuracy of 0.9, 100 times: hardly ever is one told to be worse."""
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(100):
        labels = np.zeros(5000, np.int64)
        predicted = (rng.random(5000) > 0.9).astype(np.int64)
        keys = rng.integers(0, 100, 5000).astype(str).tolist()
        found = measure_slices("accuracy", predicted, labels, {"shop": keys}, alpha=0.05)
        wrong += any(one.measured.high < 0.9 for one in found)

    assert wrong <= 5 + 3 * np.sqrt(100 * 0.05 * 0.95)


def test_small_slices_are_left_out() -> None:
    keys = ["rare"] * 5 + ["usual"] * 100
    zeros = np.zeros(105, np.int64)

    found = measure_slices("accuracy", zeros, zeros, {"kind": keys}, alpha=0.05)

    assert [one.value for one in found] == ["usual"]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200), st.integers(0, 200))
def test_the_interval_of_a_bounded_mean_adds_up_over_shards(values: list[float], cut: int) -> None:
    first, second = values[:cut], values[cut:]

    merged = confidence_sequence(min(sum(first) + sum(second), len(values)), len(values), alpha=0.1)
    low, high = confidence_sequence(min(sum(values), len(values)), len(values), alpha=0.1)

    assert merged == pytest.approx((low, high), abs=1e-6)
    assert low <= np.mean(values) + 1e-9
    assert high >= np.mean(values) - 1e-9


def test_the_mean_of_values_between_zero_and_one_is_rarely_left() -> None:
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(300):
        sums = rng.beta(0.5, 2.0, 400).cumsum()
        looks = [confidence_sequence(sums[n - 1], n, alpha=0.1) for n in (10, 50, 100, 200, 400)]
        missed += any(not low <= 0.2 <= high for low, high in looks)

    assert missed <= 0.1 * 300


def test_metrics_of_classes_and_of_numbers_are_all_there_are() -> None:
    assert {*OF_CLASSES, *OF_NUMBERS} == set(METRICS)
