"""How sure an answer is: what a client may ask for beside the model's own outputs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.output.guard import OutputGuard


@dataclass(frozen=True, slots=True)
class Certainty:
    """Reads one answer through the calibration of its version; computed when asked for."""

    guard: OutputGuard
    answers: NDArray[Any] | None  # None: another version answered, of which nothing is known here
    rows: int

    @property
    def coverage(self) -> float:
        """Probability with which the set of a row holds its class."""
        calibration = self.guard.calibration
        assert calibration is not None
        assert calibration.sets is not None
        return 1.0 if self.answers is None else calibration.sets.coverage

    def confidence(self) -> NDArray[np.float64]:
        """Probability of the likeliest class of each row, shape (rows,); NaN where unknown."""
        if self.answers is None or not self.guard.has_classes:
            return np.full(self.rows, np.nan)
        return self.guard.confidence(self.answers.reshape(self.rows, -1))

    def prediction_set(self) -> NDArray[np.bool_]:
        """Say which classes each row may be, shape (rows, classes); all where nothing is known."""
        calibration = self.guard.calibration
        assert calibration is not None
        assert calibration.sets is not None  # `requested.check_outputs` refused else
        if self.answers is None:
            return np.ones((self.rows, calibration.reading.classes), np.bool_)
        answers = self.answers.reshape(self.rows, -1)
        return calibration.sets.sets(calibration.probabilities(answers))
