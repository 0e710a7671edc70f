"""Measures of probabilities and of rankings agree with scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from guards.quality.ranked import hit_rate, ndcg, reciprocal_rank
from guards.quality.scored import auroc, brier, calibration_error, log_loss

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 500)
PROBABILITIES = RNG.dirichlet([1, 1, 1], 500) * 0.5 + 0.5 * np.eye(3)[LABELS]


def test_auroc_counts_ties_half() -> None:
    scores = RNG.integers(0, 10, 300).astype(float)
    positive = RNG.random(300) < 0.3

    assert auroc(scores, positive) == pytest.approx(oracle.roc_auc_score(positive, scores))
    assert np.isnan(auroc(scores, np.zeros(300, np.bool_)))


def test_log_loss_and_brier_are_those_of_the_books() -> None:
    assert log_loss(PROBABILITIES, LABELS) == pytest.approx(oracle.log_loss(LABELS, PROBABILITIES))
    assert brier(PROBABILITIES, LABELS) == pytest.approx(
        oracle.brier_score_loss(LABELS, PROBABILITIES, scale_by_half=False)
    )


def test_honest_confidence_has_hardly_any_calibration_error_and_boasting_has_its_size() -> None:
    confidence = RNG.uniform(0.5, 0.9, 20_000)
    right = RNG.random(20_000) < confidence

    assert calibration_error(confidence, right) < 0.02
    assert calibration_error(confidence + 0.1, right) == pytest.approx(0.1, abs=0.01)


def test_ndcg_is_that_of_the_books_and_nothing_relevant_measures_nothing() -> None:
    relevance = RNG.integers(0, 4, (50, 6)).astype(float)
    places = -np.arange(6.0)

    expected = [oracle.ndcg_score(row[None], places[None]) for row in relevance]
    np.testing.assert_allclose(ndcg(relevance), expected)
    assert np.isnan(ndcg(np.zeros((1, 3)))[0])


def test_ndcg_against_all_candidates_is_lower_than_against_those_shown() -> None:
    shown = np.array([[1.0, 0.0]])

    assert ndcg(shown, np.array([[1.0, 0.0, 3.0]]))[0] < ndcg(shown)[0] == 1


def test_the_first_relevant_slot_counts() -> None:
    relevance = np.array([[0.0, 1, 1], [1, 0, 0], [0, 0, 0]])

    np.testing.assert_allclose(reciprocal_rank(relevance), [0.5, 1, 0])
    np.testing.assert_allclose(hit_rate(relevance, within=1), [0, 1, 0])
    np.testing.assert_allclose(hit_rate(relevance, within=2), [1, 1, 0])
