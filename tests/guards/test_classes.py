"""Calibrated apart, the promise holds within each class and not only over all of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from guards.outlier.classes import WITHIN, ByClass
from guards.outlier.conformal import Aim, Calibration
from guards.outlier.guard import OutlierGuard, OutlierSettings
from tests.guards.test_outputs import ANSWER, CLASSES, answered, embedded, guard

AIM = Aim(0.05, 0.05)
HARD, EASY, RARE = 0, 1, 2
SETTINGS = OutlierSettings(alpha=0.05, per_class=True)


def draw(n: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Scores of a class that is hard to learn, of an easy one, and of one that hardly occurs."""
    classes = rng.choice(3, n, p=(0.2, 0.78, 0.02))
    return rng.normal(size=n) + 1.5 * (classes == HARD), classes


def calibrated(n: int, rng: np.random.Generator, aim: Aim = AIM) -> ByClass:
    scores, classes = draw(n, rng)
    pooled = Calibration.of(scores, alpha=aim.alpha, delta=aim.delta, guard="outlier")
    return ByClass.of(pooled, classes[np.argsort(scores)], count=3, aim=aim)


def test_at_most_delta_of_draws_exceed_alpha_in_any_class_that_has_its_own_threshold() -> None:
    rng = np.random.default_rng(1)
    fresh, fresh_classes = draw(40_000, rng)
    exceeded = {HARD: 0, EASY: 0}
    pooled_hard = []
    for _ in range(100):
        by_class = calibrated(1000, rng)
        strange = by_class.p_values(fresh, fresh_classes) <= by_class.threshold
        for at in exceeded:
            exceeded[at] += strange[fresh_classes == at].mean() > AIM.alpha
        pooled = by_class.pooled.p_values(fresh) <= by_class.pooled.threshold
        pooled_hard.append(pooled[fresh_classes == HARD].mean())

    # 5 of 100 are expected at most; 12 are three standard errors more.
    assert max(exceeded.values()) <= 12
    assert np.mean(pooled_hard) > 2 * AIM.alpha  # what one threshold does to the hard class


def test_a_class_with_too_few_rows_is_ranked_among_all() -> None:
    by_class = calibrated(1000, np.random.default_rng(2))
    scores = np.linspace(-3, 5, 200)

    assert by_class.place.tolist() == [0, 1, -1]
    strange = by_class.p_values(scores, np.full(200, RARE)) <= by_class.threshold
    pooled = by_class.pooled.p_values(scores) <= by_class.pooled.threshold
    np.testing.assert_array_equal(strange, pooled)


@given(n=st.integers(60, 400), alpha=st.floats(0.05, 0.5), seed=st.integers(0, 99))
def test_stretching_changes_no_verdict_and_makes_no_p_value_smaller(
    n: int, alpha: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    by_class = calibrated(n, rng, Aim(alpha, 0.05))
    scores, classes = draw(200, rng)
    p_values = by_class.p_values(scores, classes)

    for at, own in zip(np.flatnonzero(by_class.place >= 0), by_class.own, strict=True):
        plain = own.p_values(scores[classes == at])
        assert ((p_values[classes == at] <= alpha) == (plain <= own.threshold)).all()
        assert (p_values[classes == at] >= plain * (1 - 1e-12)).all()
    assert ((p_values > 0) & (p_values <= 1)).all()


def test_a_guard_with_a_threshold_per_class_says_so_and_survives_a_file() -> None:
    fitted = guard("gen", per_class=True, alpha=SETTINGS.alpha)
    twin = OutlierGuard.from_arrays(fitted.to_arrays(), SETTINGS)
    rows = answered(embedded(300, seed=5))
    rows[3] = np.nan

    verdict = fitted.check(rows)
    assert verdict.guarantee is not None
    assert verdict.guarantee.assumption == WITHIN
    assert verdict.guarantee.n < 1000 / CLASSES * 1.3
    assert verdict.threshold == SETTINGS.alpha
    assert verdict.actions[3] > 0
    np.testing.assert_array_equal(twin.p_values(rows), fitted.p_values(rows))


def test_classes_that_nobody_predicts_are_refused() -> None:
    rows = embedded(400, seed=0)
    with pytest.raises(ValueError, match="per_class needs logits or probabilities"):
        OutlierGuard.fit(rows, rows, SETTINGS)


def test_one_answer_for_all_rows_is_one_class() -> None:
    rows = answered(embedded(400, seed=0))
    rows[:, 0] = 100
    fitted = OutlierGuard.fit(rows, rows, SETTINGS, reads="outputs", answer=ANSWER)

    assert fitted.is_strange(rows).mean() <= SETTINGS.alpha
