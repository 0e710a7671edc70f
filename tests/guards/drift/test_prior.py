"""Class ratios are found without labels, as long as only they changed."""

import numpy as np
import pytest

from guards.drift.prior import AmbiguousClassesError, Temperature, bbse, bbse_shift, mlls_shift

MEANS = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
BEFORE, NOW = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
OVERCONFIDENT = 2.0


def _draw(shares: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and what an overconfident model says about them."""
    labels = rng.choice(3, n, p=shares)
    rows = MEANS[labels] + rng.normal(size=(n, 2))
    logits = np.log(BEFORE) - ((rows[:, None] - MEANS) ** 2).sum(axis=2) / 2
    odds = np.exp(OVERCONFIDENT * (logits - logits.max(axis=1, keepdims=True)))
    return labels, odds / odds.sum(axis=1, keepdims=True)


def _confusion(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    table = np.zeros((3, 3), np.int64)
    np.add.at(table, (probabilities.argmax(axis=1), labels), 1)
    return table


def test_both_estimates_find_the_ratios() -> None:
    rng = np.random.default_rng(0)
    labels, held_out = _draw(BEFORE, 3000, rng)
    _, traffic = _draw(NOW, 3000, rng)
    predicted = np.bincount(traffic.argmax(axis=1), minlength=3)

    by_answers = bbse_shift(_confusion(labels, held_out), predicted, rng=rng, rounds=200)
    by_likelihood = mlls_shift(held_out, labels, traffic, rng=rng, rounds=30)

    for found in (by_answers, by_likelihood):
        np.testing.assert_allclose(found.ratios, NOW / BEFORE, atol=0.25)
        assert found.shifted.tolist() == [True, False, True]
        assert (found.low <= NOW / BEFORE).all()
        assert (found.high >= NOW / BEFORE).all()


def test_no_shift_is_no_alarm() -> None:
    alarms = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        labels, held_out = _draw(BEFORE, 1000, rng)
        _, traffic = _draw(BEFORE, 500, rng)
        predicted = np.bincount(traffic.argmax(axis=1), minlength=3)
        found = bbse_shift(_confusion(labels, held_out), predicted, rng=rng, rounds=100)
        alarms += found.shifted.any()

    assert alarms <= 2


def test_temperature_takes_overconfidence_away() -> None:
    labels, said = _draw(BEFORE, 5000, np.random.default_rng(1))

    calibration = Temperature.fit(said, labels)

    assert calibration.temperature == pytest.approx(OVERCONFIDENT, rel=0.15)
    np.testing.assert_allclose(calibration.apply(said).mean(axis=0), BEFORE, atol=0.02)


def test_a_model_that_cannot_tell_classes_apart_says_nothing_about_them() -> None:
    with pytest.raises(AmbiguousClassesError, match="least singular value"):
        bbse(np.array([[40, 41], [60, 59]]), np.array([50, 50]))
