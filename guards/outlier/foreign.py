"""A detector of PyOD behind the guard's own calibration; needs the extra ``pyod``.

PyOD stores its models by pickle, which would let a bundle run code.  So what is stored is
what they were fitted on: the detector is fitted again when it is loaded, from the same rows
and seed, and must then score some of those rows as it did.

Source: Zhao, Nasrullah, Li (2019), "PyOD: A Python toolbox for scalable outlier detection", JMLR.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from guards.errors import ForeignDetectorError
from guards.settings import Settings

GUARD = "outlier"
SEED = 20230104
CHECKED_ROWS = 64
TOLERANCE = 1e-6  # another build of BLAS rounds differently; another forest differs by percents
# A manifest names one of these and nothing is imported by any other name.  ECOD and COPOD are
# left out: they score a row by the tails of the batch it comes in.
PyodName = Literal["IForest", "KNN", "LOF", "PCA", "OCSVM", "LODA", "GMM", "KDE"]


class PyodSettings(Settings):
    """Which detector, and the arguments of its constructor."""

    name: PyodName
    arguments: dict[str, bool | int | float | str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Foreign:
    """Scores standardised rows with a detector of PyOD."""

    settings: PyodSettings
    rows: NDArray[np.float32]  # (N, d), standardised reference rows
    checked: NDArray[np.float64]  # what the first of them score
    model: Any

    @classmethod
    def fit(cls, standard: NDArray[np.float64], settings: PyodSettings) -> Self:
        """Fit to standardised reference rows, shape (N, d).

        Raises:
            ForeignDetectorError: PyOD is not there, or does not take the arguments or the rows.
        """
        rows = np.ascontiguousarray(standard, np.float32)
        model = _fit(rows, settings)
        return cls(settings, rows, _score(model, rows[:CHECKED_ROWS]), model)

    def score(self, standard: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score rows (n, d): larger is stranger, and what is no number is strangest."""
        if not len(standard):
            return np.empty(0)
        found = _score(self.model, np.ascontiguousarray(standard, np.float32))
        return np.where(np.isnan(found), np.inf, found)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give up what the detector is fitted from."""
        return {
            "pyod": np.array(self.settings.model_dump_json()),
            "pyod_rows": self.rows,
            "pyod_checked": self.checked,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Foreign | None":
        """Fit again what gave ``arrays``; None where there was nothing.

        Raises:
            ForeignDetectorError: it scores otherwise than when it was calibrated.
        """
        if "pyod" not in arrays:
            return None
        settings = PyodSettings.model_validate_json(str(arrays["pyod"]))
        twin = cls.fit(np.asarray(arrays["pyod_rows"], np.float64), settings)
        checked = arrays["pyod_checked"]
        if not np.allclose(twin.checked, checked, rtol=TOLERANCE, atol=TOLERANCE):
            problem = f"this PyOD fits another {settings.name} than the one that was calibrated"
            raise ForeignDetectorError(GUARD, problem)
        return twin


def _fit(rows: NDArray[np.float32], settings: PyodSettings) -> Any:
    assert settings.name in get_args(PyodName)
    try:
        made = getattr(import_module(f"pyod.models.{settings.name.lower()}"), settings.name)
    except ImportError as error:
        problem = "detector pyod needs PyOD: pip install 'handrail[pyod]'"
        raise ForeignDetectorError(GUARD, problem) from error
    fixed = {
        name: value
        for name, value in {"random_state": SEED, "n_jobs": 1, "novelty": True}.items()
        if name in signature(made).parameters
    }
    state = np.random.get_state()  # some of PyOD draws from the global generator
    np.random.seed(SEED)
    try:
        return made(**{**fixed, **settings.arguments}).fit(rows)
    except (TypeError, ValueError) as error:
        problem = f"{settings.name} of PyOD refuses its arguments or the reference"
        raise ForeignDetectorError(GUARD, problem) from error
    finally:
        np.random.set_state(state)


def _score(model: Any, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(model.decision_function(rows), np.float64)
