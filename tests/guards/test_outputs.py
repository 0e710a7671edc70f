"""Scores from what a classifier answers."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from guards.outlier import logits as logits_file
from guards.outlier.classwise import Classwise
from guards.outlier.guard import OutlierGuard, OutlierSettings
from guards.outlier.heads import Answer
from guards.outlier.whitening import Basis
from guards.verdict import Rows

CLASSES, WIDTH = 5, 12
ANSWER = Answer(slice(0, CLASSES), is_probability=False)
CENTRES = 4 * np.random.default_rng(9).normal(size=(CLASSES, WIDTH)) / np.sqrt(WIDTH) * 2
MIXING = np.random.default_rng(8).normal(size=(WIDTH, WIDTH)) / np.sqrt(WIDTH)


def answered(embedding: NDArray[np.float64]) -> Rows:
    """Put the logits of a linear classifier before the embedding."""
    logits = embedding @ CENTRES.T - (CENTRES**2).sum(axis=1) / 2
    return np.concatenate([logits, embedding], axis=1, dtype=np.float32)


def embedded(n: int, *, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return np.asarray(CENTRES[rng.integers(0, CLASSES, n)] + rng.normal(size=(n, WIDTH)) @ MIXING)


def guard(detector: str = "auto", **changes: object) -> OutlierGuard:
    settings = OutlierSettings.model_validate({"detector": detector} | changes)
    return OutlierGuard.fit(
        answered(embedded(1500, seed=0)),
        answered(embedded(1000, seed=1)),
        settings,
        reads="outputs",
        answer=ANSWER,
    )


def test_the_logit_scores_are_those_of_their_papers() -> None:
    values = np.random.default_rng(0).normal(scale=4, size=(50, 150))
    p = softmax(values, axis=1)
    top = np.sort(p, axis=1)[:, -100:]

    msp, largest, energy, gen = logits_file.measure(values)
    np.testing.assert_allclose(msp, -p.max(axis=1))
    np.testing.assert_allclose(largest, -values.max(axis=1))
    np.testing.assert_allclose(energy, -logsumexp(values, axis=1))
    np.testing.assert_allclose(gen, (top**0.1 * (1 - top) ** 0.1).sum(axis=1))


def test_the_logits_of_probabilities_give_them_back() -> None:
    p = softmax(np.random.default_rng(0).normal(size=(20, 7)), axis=1)

    np.testing.assert_allclose(softmax(logits_file.logits_of(p), axis=1), p)
    assert np.isfinite(logits_file.logits_of(np.array([[0.0, 1.0]]))).all()


def test_the_relative_distance_is_that_of_mahalanobis_twice() -> None:
    embedding, classes = embedded(3000, seed=2), np.arange(3000) % CLASSES
    embedding += 3 * CENTRES[classes]
    basis = Basis.fit(embedding)
    points = basis.project(embedding)
    means = np.array([points[classes == c].mean(axis=0) for c in range(CLASSES)])
    inside = np.linalg.inv(np.cov((points - means[classes]).T, bias=True))
    gaps = points[:9, None, :] - means
    within = np.einsum("ncm,mk,nck->nc", gaps, inside, gaps).min(axis=1)
    overall = (points[:9] ** 2 / basis.variances).sum(axis=1)

    found = Classwise.fit(points, classes, basis).measure(points[:9])
    np.testing.assert_allclose(found, within - overall, rtol=0.15, atol=1.5)  # both are shrunk


@pytest.mark.parametrize(
    "detector", ["outputs", "classwise", "rmds", "gen", "vim", "energy", "max_logit", "msp"]
)
def test_every_detector_keeps_the_promise(detector: str) -> None:
    fitted = guard(detector)

    assert fitted.detector_name == detector
    assert fitted.reads == "outputs"
    assert fitted.is_strange(answered(embedded(20_000, seed=3))).mean() <= 0.01


def test_an_embedding_off_the_classes_is_strange_though_the_classifier_is_sure() -> None:
    """Far out along a direction that no logit looks at."""
    blind = np.linalg.svd(CENTRES)[2][-1]
    rows = answered(embedded(200, seed=4) + 12 * blind)

    assert guard("outputs").is_strange(rows).mean() > 0.95
    assert guard("msp").is_strange(rows).mean() < 0.05


def test_a_score_of_outputs_is_the_same_to_the_last_bit_in_a_batch_of_any_size() -> None:
    fitted = guard("outputs")
    rows = answered(embedded(70, seed=5))
    together = fitted._detector.score(rows)

    for size in (1, 2, 3, 64):
        parts = [fitted._detector.score(rows[at : at + size]) for at in range(0, 70, size)]
        np.testing.assert_array_equal(np.concatenate(parts), together)


def test_a_guard_of_outputs_survives_a_file_without_pickle() -> None:
    fitted = guard()
    twin = OutlierGuard.from_arrays(fitted.to_arrays(), OutlierSettings())
    rows = answered(embedded(50, seed=6))
    rows[3] = np.nan

    np.testing.assert_array_equal(twin.p_values(rows), fitted.p_values(rows))
    assert twin.reads == "outputs"
    assert twin.detector_name == fitted.detector_name


def test_a_detector_of_logits_is_refused_where_there_are_none() -> None:
    rows = embedded(400, seed=0)
    with pytest.raises(ValueError, match="energy needs logits or probabilities"):
        OutlierGuard.fit(rows, rows, OutlierSettings(detector="energy"))


def test_one_class_only_makes_a_guard() -> None:
    rows = answered(embedded(400, seed=0))
    rows[:, 0] = 100
    fitted = OutlierGuard.fit(rows, rows, OutlierSettings(), reads="outputs", answer=ANSWER)

    assert fitted.is_strange(rows).mean() <= 0.01


def test_what_the_model_answers_to_spoilt_rows_chooses_the_detector() -> None:
    """Spoilt rows go where only the embedding tells: a confident detector must not be chosen."""
    blind = np.linalg.svd(CENTRES)[2][-1]
    reference = embedded(1500, seed=0)
    fitted = OutlierGuard.fit(
        answered(reference),
        answered(embedded(500, seed=1)),
        OutlierSettings(),
        reads="outputs",
        answer=ANSWER,
        spoil=lambda picked: [answered(reference[picked] + 5 * blind)],
    )

    assert fitted.detector_name in {"outputs", "classwise", "rmds", "vim", "whitened"}
