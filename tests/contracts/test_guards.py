"""What every guard must satisfy, whatever it judges."""

import importlib
import io
import pickle
import pkgutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import guards
from guards.catalog import GUARDS
from guards.contract.infer import infer_features
from guards.drift.prior import AmbiguousClassesError
from guards.errors import (
    CalibrationTooSmallError,
    ForeignDetectorError,
    GuardError,
    ReferenceTooSmallError,
    ShapeMismatchError,
)
from guards.explore.distribution import InvalidDistributionError
from guards.explore.slate import NoMarginalsError
from guards.explore.target import UnknownTargetError
from guards.outlier.guard import OutlierGuard, OutlierSettings
from guards.outlier.heads import Answer
from guards.output.calibration import OutputCalibration
from guards.output.classes import ClassReading
from guards.output.guard import OutputGuard
from guards.output.layout import Layout
from guards.output.settings import OutputSettings, PredictionSetSettings, Range
from guards.quality.offpolicy.errors import NotExploredError, NotFactoredError
from guards.schema import SchemaGuard, SchemaSettings
from guards.verdict import Action, Guard, Rows

WIDTH = 6


def ordinary(n: int, *, seed: int = 0) -> Rows:
    """Correlated, on unlike scales, with one column that never moves."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, WIDTH)) @ rng.normal(size=(WIDTH, WIDTH))
    rows = rows * 10.0 ** np.arange(-2, WIDTH - 2) + 3
    rows[:, 2] = 0.1
    return rows


FEATURES = infer_features(ordinary(500), [f"f{column}" for column in range(WIDTH)])
SCHEMA = SchemaSettings(features=FEATURES)
SETTINGS = OutlierSettings(alpha=0.05, action="reject")
RANGED = OutputSettings(ranges={"value": Range(low=-1e6, high=1e6)})
CLASSES = OutputSettings(min_confidence=0.5, prediction_set=PredictionSetSettings(coverage=0.8))
LOGITS = ClassReading("logits", WIDTH)


def schema() -> SchemaGuard:
    return SchemaGuard(SCHEMA)


def outlier() -> OutlierGuard:
    return OutlierGuard.fit(ordinary(600), ordinary(400, seed=0)[200:], SETTINGS)


def outlier_of_outputs() -> OutlierGuard:
    """Judges logits: the same guard with other detectors."""
    answer = Answer(slice(0, WIDTH), is_probability=False)
    return OutlierGuard.fit(
        ordinary(600), ordinary(400, seed=0)[200:], SETTINGS, reads="outputs", answer=answer
    )


def output() -> OutputGuard:
    """Judges values with a range."""
    return OutputGuard(RANGED, Layout.of([("value", WIDTH, RANGED.ranges["value"])], width=WIDTH))


def calibration() -> OutputCalibration:
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(300, WIDTH))
    return OutputCalibration.fit(
        LOGITS, logits, rng.integers(0, WIDTH, 300), CLASSES.prediction_set
    )


def output_of_classes(calibrated: OutputCalibration | None = None) -> OutputGuard:
    """Judges how sure a classifier is."""
    return OutputGuard(
        CLASSES,
        Layout.of([("logits", WIDTH, Range())], width=WIDTH, reading=LOGITS),
        calibration=calibrated or calibration(),
    )


BUILDERS: dict[str, Callable[[], Guard]] = {
    "schema": schema,
    "outlier": outlier,
    "outlier of outputs": outlier_of_outputs,
    "output": output,
    "output of classes": output_of_classes,
}


@pytest.fixture(params=BUILDERS, scope="module")
def guard(request: pytest.FixtureRequest) -> Guard:
    return BUILDERS[request.param]()


@pytest.fixture
def mixed() -> Rows:
    """Ordinary rows among broken and far ones."""
    rows = ordinary(40, seed=0)
    rows[3, 1] = np.nan
    rows[7, 0] = np.inf
    rows[11, 4] = -np.inf
    rows[13] = 1e300
    rows[17] = -1e12
    rows[19, 2] = 0.2
    rows[23] = rows[24]
    return rows


def test_every_guard_in_the_catalogue_is_under_contract() -> None:
    assert {(guard.name, type(guard)) for guard in (build() for build in BUILDERS.values())} == {
        *GUARDS.items()
    }


def test_a_guard_goes_by_its_name(guard: Guard, mixed: Rows) -> None:
    assert GUARDS[guard.name] is type(guard)
    assert guard.check(mixed).guard == guard.name


def test_there_is_one_action_per_row(guard: Guard, mixed: Rows) -> None:
    actions = guard.check(mixed).actions

    assert actions.shape == (len(mixed),)
    assert actions.dtype == np.uint8
    assert set(actions.tolist()) <= {int(action) for action in Action}


def test_judging_changes_neither_rows_nor_guard(guard: Guard, mixed: Rows) -> None:
    before = mixed.copy()
    first = guard.check(mixed)
    guard.check(ordinary(10, seed=5))
    again = guard.check(mixed)

    np.testing.assert_array_equal(mixed, before)
    np.testing.assert_array_equal(again.actions, first.actions)
    assert again.reasons == first.reasons


def test_read_only_rows_are_judged(guard: Guard, mixed: Rows) -> None:
    mixed.setflags(write=False)

    assert len(guard.check(mixed).actions) == len(mixed)


def test_a_row_is_judged_alike_alone_and_in_company(guard: Guard, mixed: Rows) -> None:
    together = guard.check(mixed)
    alone = [guard.check(mixed[row : row + 1]) for row in range(len(mixed))]

    for row, verdict in enumerate(alone):
        assert verdict.actions[0] == together.actions[row]
        assert verdict.reasons.get(0) == together.reasons.get(row)
        if together.p_values is not None and verdict.p_values is not None:
            assert verdict.p_values[0] == together.p_values[row]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_row_that_is_not_finite_is_allowed(guard: Guard, dtype: type[np.floating]) -> None:
    rows = ordinary(6, seed=2).astype(dtype)
    rows[np.arange(6), np.arange(6)] = [np.nan, np.inf, -np.inf, np.nan, np.inf, np.nan]

    verdict = guard.check(rows)

    assert (verdict.actions > Action.ALLOW).all()
    assert set(verdict.reasons) == set(range(6))


def test_no_rows_get_no_actions(guard: Guard) -> None:
    verdict = guard.check(np.empty((0, WIDTH)))

    assert verdict.actions.shape == (0,)
    assert verdict.reasons == {}


def test_columns_may_lie_apart_in_memory(guard: Guard, mixed: Rows) -> None:
    strided = np.asfortranarray(mixed)

    np.testing.assert_array_equal(guard.check(strided).actions, guard.check(mixed).actions)


def test_reasons_are_given_for_strange_rows_only_and_are_fit_for_json(
    guard: Guard, mixed: Rows
) -> None:
    verdict = guard.check(mixed)

    assert set(verdict.reasons) == set(np.flatnonzero(verdict.actions).tolist())
    for reasons in verdict.reasons.values():
        assert 1 <= len(reasons) <= 8
        for reason in reasons:
            assert isinstance(reason.observed, float | str | None)
            assert not isinstance(reason.observed, float) or np.isfinite(reason.observed)
            assert reason.feature
            assert reason.kind


def test_a_batch_is_cut_into_the_verdicts_of_its_requests(guard: Guard, mixed: Rows) -> None:
    verdict = guard.check(mixed)
    cut = verdict.rows(10, 20)

    np.testing.assert_array_equal(cut.actions, verdict.actions[10:20])
    assert cut.reasons == {row - 10: why for row, why in verdict.reasons.items() if 10 <= row < 20}


@pytest.mark.parametrize("shape", [(3, WIDTH - 1), (3, WIDTH + 1), (WIDTH,), (2, 3, WIDTH)])
def test_rows_of_another_width_are_refused(guard: Guard, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeMismatchError, match=f"{guard.name}: expected shape"):
        guard.check(np.zeros(shape))


def test_whole_numbers_are_judged_like_the_same_numbers_with_a_point(guard: Guard) -> None:
    rows = np.rint(ordinary(40, seed=3))

    as_whole = guard.check(rows.astype(np.int64))

    np.testing.assert_array_equal(as_whole.actions, guard.check(rows).actions)


def test_tied_rows_get_one_judgement(guard: Guard, mixed: Rows) -> None:
    twice = np.vstack([mixed, mixed[::-1]])

    verdict = guard.check(twice)

    n = len(mixed)
    np.testing.assert_array_equal(verdict.actions[:n], verdict.actions[n:][::-1])
    for row in range(n):
        assert verdict.reasons.get(row) == verdict.reasons.get(2 * n - 1 - row)


def test_a_constant_batch_is_judged_like_one_of_its_rows(guard: Guard) -> None:
    row = ordinary(1, seed=6)
    many = np.repeat(row, 300, axis=0)

    np.testing.assert_array_equal(
        guard.check(many).actions, np.repeat(guard.check(row).actions, 300)
    )


def from_nothing_but_its_file(guard: Guard) -> Guard:
    """Rebuild a guard from its settings as JSON, and its arrays from a file without pickle."""
    if isinstance(guard, SchemaGuard):
        return SchemaGuard(SchemaSettings.model_validate_json(SCHEMA.model_dump_json()))
    if isinstance(guard, OutlierGuard):
        settings = OutlierSettings.model_validate_json(SETTINGS.model_dump_json())
        return OutlierGuard.from_arrays(loaded(guard.to_arrays()), settings)
    assert isinstance(guard, OutputGuard)
    if guard.calibration is None:
        return output()
    state = loaded(guard.calibration.to_arrays())
    return output_of_classes(OutputCalibration.from_arrays(state, LOGITS, CLASSES.prediction_set))


def loaded(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)  # type: ignore[arg-type]
    file.seek(0)
    with np.load(file, allow_pickle=False) as there:
        return dict(there)


def test_state_survives_a_file_without_pickle_to_the_last_bit(guard: Guard, mixed: Rows) -> None:
    there, here = from_nothing_but_its_file(guard).check(mixed), guard.check(mixed)

    np.testing.assert_array_equal(there.actions, here.actions)
    assert there.reasons == here.reasons
    assert (there.threshold, there.guarantee) == (here.threshold, here.guarantee)
    if here.p_values is None:
        assert there.p_values is None
    else:
        np.testing.assert_array_equal(there.p_values, here.p_values)


def test_a_guard_may_travel_between_processes(guard: Guard, mixed: Rows) -> None:
    """Ray copies arguments by pickle, from one of our processes to another."""
    twin = pickle.loads(pickle.dumps(guard))

    np.testing.assert_array_equal(twin.check(mixed).actions, guard.check(mixed).actions)


ERRORS = [
    ShapeMismatchError("outlier", 30, (2, 29)),
    CalibrationTooSmallError("outlier", 299, 100, 0.01, 0.05),
    ReferenceTooSmallError("outlier", 9, 4),
    ForeignDetectorError("outlier", "is not there"),
    AmbiguousClassesError(0.01),
    InvalidDistributionError("the probabilities of a row sum to 0.9"),
    NoMarginalsError("a slate without repetition"),
    UnknownTargetError("greedier", "there is no such policy"),
    NotExploredError("shadow", 7),
    NotFactoredError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_the_trip_between_processes(error: GuardError) -> None:
    twin = pickle.loads(pickle.dumps(error))

    assert type(twin) is type(error)
    assert vars(twin) == vars(error)
    assert str(twin) == str(error)


def test_every_error_is_under_contract() -> None:
    for module in pkgutil.walk_packages(guards.__path__, "guards."):
        importlib.import_module(module.name)

    assert {type(error) for error in ERRORS} == set(GuardError.__subclasses__())
