"""How sure a classifier may be: temperatures that fit, and sets that hold the true class."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray

from guards.errors import CalibrationTooSmallError
from guards.output.calibration import OutputCalibration
from guards.output.classes import ClassReading, Probabilities, softmax
from guards.output.guard import OutputGuard
from guards.output.layout import Layout
from guards.output.prediction_set import PredictionSets, Score
from guards.output.settings import OutputSettings, PredictionSetSettings, Range
from guards.output.temperature import LEAST_ROWS, fit_temperatures, temper

CLASSES = 5
LOGITS = ClassReading("logits", CLASSES)
Labels = NDArray[np.int64]


def drawn(
    n: int, rng: np.random.Generator, *, too_sure: NDArray[np.float64]
) -> tuple[Probabilities, Labels]:
    """Logits, and labels drawn from them; then each row is too sure by its likeliest class."""
    logits = 2 * rng.normal(size=(n, CLASSES))
    p = softmax(logits)
    labels = (p.cumsum(axis=1) > rng.uniform(size=(n, 1))).argmax(axis=1)
    return logits * too_sure[logits.argmax(axis=1)][:, None], labels


def z_of_confidence(probabilities: Probabilities, labels: Labels) -> float:
    """Standard errors between how often the likeliest class is right and how likely it was said."""
    said = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    return float(abs((right - said).sum()) / np.sqrt((said * (1 - said)).sum()))


def test_temperatures_undo_what_made_each_class_too_sure() -> None:
    rng = np.random.default_rng(0)
    too_sure = np.array([1.0, 2.0, 4.0, 0.5, 3.0])

    logits, labels = drawn(40_000, rng, too_sure=too_sure)

    np.testing.assert_allclose(fit_temperatures(logits, labels), too_sure, rtol=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_calibrated_confidence_is_right_as_often_as_it_says_for_each_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    too_sure = np.array([1.0, 2.0, 4.0, 1.5, 3.0])
    temperatures = fit_temperatures(*drawn(40_000, rng, too_sure=too_sure))
    logits, labels = drawn(4_000, rng, too_sure=too_sure)
    calibrated, said = temper(logits, temperatures), logits.argmax(axis=1)

    for known in range(CLASSES):
        rows = said == known
        assert z_of_confidence(calibrated[rows], labels[rows]) < 3.9  # one in ten thousand
    assert z_of_confidence(softmax(logits), labels) > 10  # as the model states it


def test_a_class_with_few_rows_shares_the_common_temperature() -> None:
    rng = np.random.default_rng(1)
    logits, labels = drawn(2_000, rng, too_sure=np.full(CLASSES, 3.0))
    rare = np.flatnonzero(logits.argmax(axis=1) == 4)[LEAST_ROWS - 1 :]
    logits, labels = np.delete(logits, rare, axis=0), np.delete(labels, rare)

    temperatures = fit_temperatures(logits, labels)

    assert temperatures[4] not in temperatures[:4]
    assert temperatures[4] == pytest.approx(3.0, rel=0.2)


def test_no_rows_leave_the_answers_as_they_are() -> None:
    none = fit_temperatures(np.empty((0, CLASSES)), np.empty(0, np.int64))

    np.testing.assert_array_equal(none, np.ones(CLASSES))


@pytest.mark.parametrize("n", [20, 200, 2000])
def test_a_model_that_was_right_about_a_few_rows_is_not_certain(n: int) -> None:
    """Of n rows, all right: by the rule of succession the next is with n + 1 in n + 2.

    Where there are enough rows of each class, of the rows of its class.
    """
    rng = np.random.default_rng(n)
    labels = rng.integers(0, CLASSES, n)
    logits = 4.0 * np.eye(CLASSES)[labels] + rng.uniform(size=(n, CLASSES))

    confidence = temper(logits, fit_temperatures(logits, labels)).max(axis=1)

    assert 1 - CLASSES / n < confidence.mean() < 1 - 0.25 / n


def coverages(score: Score, *, coverage: float, n: int, seed: int) -> NDArray[np.float64]:
    """Share of fresh rows whose set holds their class, for 400 draws of the calibration rows."""
    rng = np.random.default_rng(seed)
    too_sure = np.full(CLASSES, 5.0)  # a bad model: the promise does not depend on it
    found = []
    for _ in range(400):
        logits, labels = drawn(n + 200, rng, too_sure=too_sure)
        p = softmax(logits)
        sets = PredictionSets.fit(p[:n], labels[:n], coverage=coverage, score=score)
        found.append(sets.sets(p[n:])[np.arange(200), labels[n:]].mean())
    return np.array(found)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_sets_hold_the_class_as_often_as_stated_and_hardly_more(coverage: float) -> None:
    n = 99

    found = coverages("lac", coverage=coverage, n=n, seed=int(100 * coverage))

    error = found.std() / np.sqrt(len(found))
    assert coverage - 3.9 * error < found.mean() < coverage + 1 / (n + 1) + 3.9 * error


def test_adaptive_sets_hold_the_class_at_least_as_often_as_stated() -> None:
    found = coverages("aps", coverage=0.9, n=99, seed=1)

    assert found.mean() > 0.9 - 3.9 * found.std() / np.sqrt(len(found))


def test_adaptive_sets_are_larger_where_a_row_is_hard() -> None:
    logits, labels = drawn(4_000, np.random.default_rng(2), too_sure=np.ones(CLASSES))
    p = softmax(logits)
    sizes = PredictionSets.fit(p, labels, coverage=0.9, score="aps").sets(p).sum(axis=1)

    hard = p.max(axis=1) < 0.5
    assert sizes[hard].mean() > sizes[~hard].mean() + 0.5


@pytest.mark.parametrize("score", ["lac", "aps"])
def test_one_class_is_enough_where_a_model_is_sure_and_right(score: Score) -> None:
    rng = np.random.default_rng(9)
    labels = rng.integers(0, CLASSES, 500)
    logits = 20.0 * np.eye(CLASSES)[labels] + rng.normal(size=(500, CLASSES))
    p = softmax(logits)

    sizes = PredictionSets.fit(p, labels, coverage=0.95, score=score).sets(p).sum(axis=1)

    assert sizes.mean() < 1.05


@pytest.mark.parametrize("score", ["lac", "aps"])
def test_tied_scores_hold_the_class_no_less_often(score: Score) -> None:
    """A model that says one of three things: most scores are equal."""
    rng = np.random.default_rng(10)
    kinds = np.array([[0.5, 0.25, 0.25], [0.2, 0.4, 0.4], [1 / 3, 1 / 3, 1 / 3]])
    found = []
    for _ in range(400):
        p = kinds[rng.integers(0, 3, 299)]
        labels = (p.cumsum(axis=1) > rng.uniform(size=(299, 1))).argmax(axis=1)
        sets = PredictionSets.fit(p[:99], labels[:99], coverage=0.8, score=score)
        found.append(sets.sets(p[99:])[np.arange(200), labels[99:]].mean())

    assert np.mean(found) > 0.8 - 3.9 * np.std(found) / np.sqrt(400)


@pytest.mark.parametrize("score", ["lac", "aps"])
def test_the_likeliest_class_belongs_to_every_set_and_all_do_where_nothing_is_known(
    score: Score,
) -> None:
    logits, labels = drawn(100, np.random.default_rng(3), too_sure=np.ones(CLASSES))
    p = softmax(logits)
    sets = PredictionSets.fit(p, labels, coverage=0.05, score=score)
    p[0, 1] = np.nan

    held = sets.sets(p)

    assert held[0].all()
    assert held[np.arange(1, 100), p[1:].argmax(axis=1)].all()


@pytest.mark.parametrize(("coverage", "needed"), [(0.9, 9), (0.95, 19), (0.99, 99)])
def test_too_few_rows_are_refused_rather_than_giving_every_class(
    coverage: float, needed: int
) -> None:
    p, labels = np.full((needed, 2), 0.5), np.zeros(needed, np.int64)
    PredictionSets.fit(p, labels, coverage=coverage, score="lac")

    with pytest.raises(CalibrationTooSmallError, match=str(needed)):
        PredictionSets.fit(p[1:], labels[1:], coverage=coverage, score="lac")


def test_what_the_temperatures_learnt_from_does_not_calibrate_the_sets() -> None:
    logits, labels = drawn(301, np.random.default_rng(4), too_sure=np.ones(CLASSES))

    calibration = OutputCalibration.fit(LOGITS, logits, labels, PredictionSetSettings())

    assert calibration.sets is not None
    assert calibration.sets.n == 151


@pytest.mark.parametrize("settings", [None, PredictionSetSettings(coverage=0.8, score="aps")])
def test_a_calibration_survives_a_file_without_pickle(
    settings: PredictionSetSettings | None,
) -> None:
    logits, labels = drawn(400, np.random.default_rng(5), too_sure=np.full(CLASSES, 2.0))
    fitted = OutputCalibration.fit(LOGITS, logits, labels, settings)
    file = io.BytesIO()
    np.savez(file, **fitted.to_arrays())  # type: ignore[arg-type]
    file.seek(0)

    with np.load(file, allow_pickle=False) as arrays:
        twin = OutputCalibration.from_arrays(dict(arrays), LOGITS, settings)

    assert twin.sets == fitted.sets
    np.testing.assert_array_equal(twin.probabilities(logits), fitted.probabilities(logits))


def test_arrays_that_are_no_calibration_are_refused() -> None:
    settings = PredictionSetSettings()
    good = {
        "temperatures": np.ones(CLASSES),
        "set": np.array([0.5, 99, 0.9]),
        "set_score": np.array("lac"),
    }
    OutputCalibration.from_arrays(good, LOGITS, settings)

    for changed in (
        {"temperatures": np.ones(CLASSES + 1)},
        {"temperatures": np.array([1, 1, 1, 1, np.nan])},
        {"temperatures": np.array([1, 1, 1, 1, -1.0])},
        {"set": np.array([np.nan, 99, 0.9])},
        {"set": np.array([0.5, 99, 0.8])},
        {"set_score": np.array("aps")},
    ):
        with pytest.raises(ValueError, match=r"expected|calibrated for"):
            OutputCalibration.from_arrays(good | changed, LOGITS, settings)


def test_labels_that_are_no_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="classes 0 to 4"):
        OutputCalibration.fit(LOGITS, np.zeros((3, CLASSES)), np.array([0, 5, 1]), None)


def test_rows_without_an_answer_teach_nothing() -> None:
    logits, labels = drawn(300, np.random.default_rng(6), too_sure=np.full(CLASSES, 2.0))
    broken = np.vstack([logits, np.full((50, CLASSES), np.nan)])

    fitted = OutputCalibration.fit(LOGITS, broken, np.append(labels, np.zeros(50, np.int64)), None)

    expected = OutputCalibration.fit(LOGITS, logits, labels, None)
    np.testing.assert_array_equal(fitted.temperatures, expected.temperatures)


@pytest.mark.parametrize("width", [1, 2, CLASSES])
def test_probabilities_read_as_log_odds_come_back(width: int) -> None:
    rng = np.random.default_rng(7)
    p = rng.dirichlet(np.ones(max(2, width)), size=50)
    answers = p[:, 1:] if width == 1 else p
    reading = ClassReading("probabilities", width)

    np.testing.assert_allclose(softmax(reading.logits(answers)), p, atol=1e-9)
    np.testing.assert_allclose(reading.probabilities(answers), p, atol=1e-9)


def test_the_model_abstains_by_its_calibrated_confidence() -> None:
    logits, labels = drawn(2_000, np.random.default_rng(8), too_sure=np.full(CLASSES, 5.0))
    calibration = OutputCalibration.fit(LOGITS, logits, labels, None)
    layout = Layout.of([("logits", CLASSES, Range())], width=CLASSES, reading=LOGITS)
    settings = OutputSettings(min_confidence=0.8)

    sure = OutputGuard(settings, layout).check(logits).actions == 0
    truly_sure = OutputGuard(settings, layout, calibration=calibration).check(logits).actions == 0

    right = logits.argmax(axis=1) == labels
    assert right[sure].mean() < 0.8
    assert right[truly_sure].mean() > 0.85
    assert truly_sure.sum() > 200
