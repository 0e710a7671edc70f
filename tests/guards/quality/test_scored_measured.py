"""Probabilities against labels: honest ends, and right pulls."""

import numpy as np
import pytest

from guards.quality.expectation import State, judge_measured
from guards.quality.measured import LEAST_ROWS, Measured
from guards.quality.metrics import METRICS
from guards.quality.scored import auroc, brier, log_loss
from guards.quality.scored_measured import auroc_pulls, measure_scored

NAN = float("nan")


def drawn(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Answers of a binary model that knows a little, and what was true."""
    labels = rng.integers(0, 2, n)
    second = np.clip(0.5 + 0.2 * (labels - 0.5) + rng.normal(0, 0.2, n), 0.05, 0.95)
    return np.column_stack([1 - second, second]), labels


def test_the_pull_of_a_row_on_the_auroc_is_what_leaving_it_out_changes() -> None:
    probabilities, labels = drawn(300, np.random.default_rng(0))
    scores, positive = np.round(probabilities[:, 1], 2), labels == 1  # rounded: ties count half
    pulls = auroc_pulls(scores, positive)
    without = np.array(
        [auroc(np.delete(scores, row), np.delete(positive, row)) for row in range(300)]
    )

    assert pulls.mean() == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose((auroc(scores, positive) - without) * 299, pulls, atol=0.02)


@pytest.mark.parametrize("name", ["brier", "log_loss", "auroc"])
def test_the_true_value_is_rarely_outside_at_any_of_many_looks(name: str) -> None:
    rng = np.random.default_rng(1)
    probabilities, labels = drawn(400_000, rng)
    truth = {
        "brier": brier(probabilities, labels),
        "log_loss": log_loss(probabilities, labels),
        "auroc": auroc(probabilities[:, 1], labels == 1),
    }[name]
    missed = 0
    for _ in range(200):
        probabilities, labels = drawn(800, rng)
        for n in (100, 200, 400, 800):
            found = {f.metric: f for f in measure_scored(probabilities[:n], labels[:n], alpha=0.1)}
            if not found[name].low <= truth <= found[name].high:
                missed += 1
                break

    assert missed <= 0.1 * 200 + 3 * np.sqrt(200 * 0.09)


def test_one_kind_of_label_has_no_auroc_and_few_rows_no_asymptotic_interval() -> None:
    probabilities, _ = drawn(LEAST_ROWS - 1, np.random.default_rng(2))

    found = {f.metric: f for f in measure_scored(probabilities, np.ones(29, np.int64), alpha=0.05)}

    assert "auroc" not in found
    assert np.isnan(found["log_loss"].low)
    assert 0 <= found["brier"].low < found["brier"].high <= 2


@pytest.mark.parametrize(
    ("name", "target", "state"),
    [
        ("balanced_accuracy", 0.4, State.HOLDS),
        ("balanced_accuracy", 0.6, State.UNKNOWN),
        ("balanced_accuracy", 0.8, State.VIOLATED),
        ("rmse", 0.8, State.HOLDS),
        ("rmse", 0.6, State.UNKNOWN),
        ("rmse", 0.4, State.VIOLATED),
    ],
)
def test_an_expectation_is_judged_by_the_whole_interval(
    name: str, target: float, state: State
) -> None:
    measured = Measured(name, 100, 0.6, 0.5, 0.7)

    found = judge_measured(target, measured, larger_is_better=METRICS[name].larger_is_better)

    assert found.state is state
    assert "0.600 of 100 labels; interval 0.500-0.700" in found.reason


@pytest.mark.parametrize(
    ("measured", "says"),
    [
        (Measured("rmse", 0, NAN, NAN, NAN), "no labels yet: 0 of 1,204"),
        (Measured("rmse", 9, 0.5, NAN, NAN), "too few for an interval"),
        (Measured("r2", 9, NAN, NAN, NAN), "not defined"),
    ],
)
def test_what_nothing_bounds_is_unknown_and_the_reason_says_why(
    measured: Measured, says: str
) -> None:
    found = judge_measured(0.5, measured, larger_is_better=False, total=1204)

    assert (found.state, found.low) == (State.UNKNOWN, None)
    assert says in found.reason
