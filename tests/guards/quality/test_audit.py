"""An audit labels what is worth it, and says of all rows what they lose."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.quality.audit.inference import LEAST_LABELS, audited_loss
from guards.quality.audit.sampler import LEAST_SHARE, drawn, propensities


def keys(n: int, run: int = 0) -> list[str]:
    return [f"{run}/{row}" for row in range(n)]


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=100),
    st.floats(0.01, 1),
)
def test_propensities_add_up_to_the_budget_and_leave_no_row_out(
    rows: list[tuple[float, bool]], share: float
) -> None:
    expected, strange = np.array([e for e, _ in rows]), np.array([s for _, s in rows])
    budget = share * len(rows)

    chances = propensities(expected, strange, budget=budget)

    assert chances.sum() == pytest.approx(budget, rel=1e-4)
    assert chances.min() >= min(LEAST_SHARE * share, 1) * (1 - 1e-9)
    assert chances.max() <= 1


def test_unsure_and_strange_rows_are_labelled_more_often() -> None:
    expected = np.array([0.01] * 80 + [0.5] * 10 + [0.01] * 10)
    strange = np.arange(100) >= 90

    chances = propensities(expected, strange, budget=20)

    assert chances[80] > 2 * chances[0]
    assert chances[95] > 2 * chances[0]


@pytest.mark.parametrize("budget", [0, 11])
def test_a_budget_that_cannot_be_spent_is_refused(budget: float) -> None:
    with pytest.raises(ValueError, match="labels of 10 rows"):
        propensities(np.full(10, 0.1), np.zeros(10, np.bool_), budget=budget)


def test_rows_are_drawn_as_often_as_their_propensity_says_and_again_the_same() -> None:
    chances = np.tile([0.05, 0.3, 0.9], 4000)
    picked = drawn(keys(12_000), chances, salt=b"s")

    for place, chance in enumerate((0.05, 0.3, 0.9)):
        share = picked[place::3].mean()
        assert share == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / 4000))
    np.testing.assert_array_equal(picked, drawn(keys(12_000), chances, salt=b"s"))
    assert np.any(picked != drawn(keys(12_000), chances, salt=b"other"))


def audits(runs: int, *, useful: bool) -> tuple[float, float, float, float]:
    """Audit often: coverage at one look and anytime, width over the classical one, mean bias."""
    rng = np.random.default_rng(1)
    covered = anytime = 0
    ratios, errors = [], []
    for run in range(runs):
        n = 4000
        difficulty = rng.beta(0.4, 2.0, n)
        loss = (rng.random(n) < difficulty).astype(float)
        predicted = difficulty if useful else rng.random(n)
        chances = propensities(predicted, np.zeros(n, np.bool_), budget=400)
        found = audited_loss(
            loss, drawn(keys(n, run), chances, salt=b"s"), chances, predicted, alpha=0.05
        )
        assert found is not None
        truth = 0.4 / 2.4
        covered += truth in found.interval
        anytime += truth in found.anytime
        ratios.append((found.interval.high - found.interval.low) / found.classical_width)
        errors.append(found.loss - truth)
    return covered / runs, anytime / runs, float(np.mean(ratios)), float(np.mean(errors))


@pytest.mark.parametrize("useful", [True, False])
def test_intervals_hold_the_truth_whether_the_predictions_are_useful_or_not(useful: bool) -> None:
    covered, anytime, ratio, bias = audits(400, useful=useful)

    assert covered >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 400)
    assert anytime >= 0.97
    assert abs(bias) < 0.004
    assert ratio < (0.95 if useful else 1.02)


def test_a_handful_of_labels_says_nothing() -> None:
    labelled = np.arange(1000) < LEAST_LABELS - 1
    zeros = np.zeros(1000)

    assert audited_loss(zeros, labelled, zeros + 0.5, zeros, alpha=0.05) is None
