"""Detectors of PyOD behind our calibration: never pickled, and the same again when loaded."""

import sys
from typing import get_args

import numpy as np
import pytest
from pydantic import ValidationError

from guards.errors import ForeignDetectorError
from guards.outlier.foreign import PyodName
from guards.outlier.guard import OutlierGuard, OutlierSettings
from guards.verdict import Rows

pytest.importorskip("pyod")


def rows_of(n: int, *, seed: int) -> Rows:
    mixing = np.random.default_rng(9).normal(size=(5, 5))
    return np.asarray(np.random.default_rng(seed).normal(size=(n, 5)) @ mixing)


def settings(name: str, **arguments: object) -> OutlierSettings:
    pyod = {"name": name, "arguments": arguments}
    return OutlierSettings.model_validate({"detector": "pyod", "pyod": pyod, "alpha": 0.05})


def fitted(name: str = "IForest", **arguments: object) -> OutlierGuard:
    return OutlierGuard.fit(rows_of(300, seed=0), rows_of(200, seed=1), settings(name, **arguments))


@pytest.mark.parametrize("name", get_args(PyodName))
@pytest.mark.filterwarnings("ignore")  # of PyOD and scikit-learn, about themselves
def test_every_detector_is_the_same_again_judges_alike_alone_and_keeps_the_promise(
    name: str,
) -> None:
    guard = fitted(name)
    arrays = guard.to_arrays()
    twin = OutlierGuard.from_arrays(arrays, settings(name))
    rows = np.concatenate([rows_of(400, seed=2), 30 * rows_of(5, seed=3)])

    assert not any(array.dtype.hasobject for array in arrays.values())
    assert guard.detector_name == f"pyod {name}"
    np.testing.assert_allclose(twin.scores(rows), guard.scores(rows), rtol=1e-6)
    alone = np.concatenate([guard.scores(row[None]) for row in rows[:20]])
    np.testing.assert_allclose(alone, guard.scores(rows)[:20], rtol=1e-5, atol=1e-9)
    strange = guard.is_strange(rows)
    assert strange[:400].mean() < 0.12  # three standard errors above alpha
    assert strange[400:].all()


def test_a_row_that_is_no_number_is_strange_and_a_strange_row_is_explained() -> None:
    rows = rows_of(3, seed=4)
    rows[0] = np.nan
    rows[1, 2] += 100

    verdict = fitted("KNN").check(rows)
    assert verdict.actions.tolist()[:2] == [1, 1]
    assert "column 2" in {reason.feature for reason in verdict.reasons[1]}


def test_another_detector_than_the_calibrated_one_is_refused() -> None:
    arrays = fitted("PCA").to_arrays()
    arrays["pyod_checked"] = arrays["pyod_checked"] + 0.01

    with pytest.raises(ForeignDetectorError, match="fits another PCA than the one"):
        OutlierGuard.from_arrays(arrays, settings("PCA"))


def test_without_pyod_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyod.models.pca", None)

    with pytest.raises(ForeignDetectorError, match=r"pip install 'handrail\[pyod\]'"):
        fitted("PCA")


def test_arguments_that_the_detector_does_not_know_are_refused() -> None:
    with pytest.raises(ForeignDetectorError, match="IForest of PyOD refuses its arguments"):
        fitted("IForest", trees=5)


@pytest.mark.parametrize("name", ["ECOD", "COPOD", "os.system"])
def test_nothing_else_is_imported_for_a_manifest(name: str) -> None:
    with pytest.raises(ValidationError):
        settings(name)


def test_fitting_leaves_the_global_generator_as_it_was() -> None:
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    fitted("LODA")

    assert np.random.random() == expected
