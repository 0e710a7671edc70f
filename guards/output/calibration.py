"""What was learnt about a classifier's answers on labelled held-out rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from guards.output.classes import ClassReading, Probabilities
from guards.output.prediction_set import PredictionSets
from guards.output.settings import PredictionSetSettings
from guards.output.temperature import fit_temperatures, temper
from guards.verdict import Rows

SPLIT_SEED = 20230102  # the same rows give the same calibration


@dataclass(frozen=True, slots=True)
class OutputCalibration:
    """Calibrated probabilities, and prediction sets where settings ask for them."""

    reading: ClassReading
    temperatures: NDArray[np.float64]  # (classes,)
    sets: PredictionSets | None

    @classmethod
    def fit(
        cls,
        reading: ClassReading,
        answers: Rows,
        labels: NDArray[np.integer],
        settings: PredictionSetSettings | None,
    ) -> Self:
        """Learn from answers to held-out rows, shape (n, width), and their classes, (n,).

        With prediction sets, half of the rows are for the temperatures and half for the
        sets: rows that both had learnt from would fit too well.

        Raises:
            ValueError: a label is no class.
            CalibrationTooSmallError: there are too few rows for the sets.
        """
        if len(labels) and not (labels.min() >= 0 and labels.max() < reading.classes):
            raise ValueError(f"labels of held-out rows must be classes 0 to {reading.classes - 1}")
        usable = np.isfinite(answers).all(axis=1)
        logits, labels = reading.logits(answers[usable]), labels[usable]
        if settings is None:
            return cls(reading, fit_temperatures(logits, labels), None)
        order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
        first, second = order[: len(order) // 2], order[len(order) // 2 :]
        temperatures = fit_temperatures(logits[first], labels[first])
        sets = PredictionSets.fit(
            temper(logits[second], temperatures),
            labels[second],
            coverage=settings.coverage,
            score=settings.score,
        )
        return cls(reading, temperatures, sets)

    def probabilities(self, answers: Rows) -> Probabilities:
        """Give calibrated probabilities of finite answers, shape (n, width)."""
        return temper(self.reading.logits(answers), self.temperatures)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give up everything that was learnt, as arrays that need no pickle."""
        arrays = {"temperatures": self.temperatures}
        if self.sets is not None:
            arrays["set"] = np.array([self.sets.threshold, self.sets.n, self.sets.coverage])
            arrays["set_score"] = np.array(self.sets.score, np.str_)
        return arrays

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        reading: ClassReading,
        settings: PredictionSetSettings | None,
    ) -> Self:
        """Rebuild the calibration that gave ``arrays``.

        Raises:
            KeyError, ValueError: they are not its arrays.
        """
        temperatures = np.asarray(arrays["temperatures"], np.float64)
        is_usable = np.isfinite(temperatures) & (temperatures > 0)
        if temperatures.shape != (reading.classes,) or not is_usable.all():
            raise ValueError(f"expected {reading.classes} positive temperatures")
        if settings is None:
            return cls(reading, temperatures, None)
        threshold, n, coverage = arrays["set"].tolist()
        if (str(arrays["set_score"]), coverage) != (settings.score, settings.coverage):
            raise ValueError("the prediction sets were calibrated for other settings")
        if not np.isfinite(threshold):
            raise ValueError("expected a finite threshold of the prediction sets")
        sets = PredictionSets(settings.score, settings.coverage, int(n), float(threshold))
        return cls(reading, temperatures, sets)
