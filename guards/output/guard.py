"""The output guard: answers that cannot be right, or are too uncertain.  START here."""

import numpy as np
from numpy.typing import NDArray

from guards.errors import ShapeMismatchError
from guards.output.calibration import OutputCalibration
from guards.output.classes import Probabilities
from guards.output.faults import Fault, find_broken, find_off_sum, find_outside, find_unsure
from guards.output.layout import Layout
from guards.output.settings import OutputSettings, Range
from guards.verdict import Reason, Rows, Verdict, action_of

PRECISIONS = (np.dtype(np.float32), np.dtype(np.float64))


class OutputGuard:
    """Judges what the model answered.

    - ``nonfinite``: a number is none.
    - ``range``: it lies outside its declared range, or is no probability.
    - ``sum``: probabilities that are no distribution.
    - ``confidence``: the likeliest class is too unlikely, and the model abstains.
    """

    name = "output"

    def __init__(
        self,
        settings: OutputSettings,
        layout: Layout | None = None,
        *,
        calibration: OutputCalibration | None = None,
    ) -> None:
        """Put finished parts together; without a layout every column belongs to the answer."""
        self._least = settings.min_confidence
        self._layout = layout
        self._checks_sum = settings.sum != "allow"  # probabilities of labels that may come together
        self.calibration = calibration
        self._actions = {
            "nonfinite": action_of(settings.nonfinite),
            "range": action_of(settings.range),
            "sum": action_of(settings.sum),
            "confidence": action_of(settings.low_confidence),
        }
        # What lies between these lies in every range: one pass over a batch for all columns.
        limits = {} if layout is None else {dtype: layout.limits(dtype) for dtype in PRECISIONS}
        self._quick = {
            dtype: (low.max(initial=-np.inf), high.min(initial=np.inf))
            for dtype, (low, high) in limits.items()
        }

    def check(self, rows: Rows) -> Verdict:
        """Judge the outputs of each row, shape (n, columns); (n,) is read as (n, 1).

        Raises:
            ShapeMismatchError: they are not as wide as the layout.
        """
        outputs = rows[:, None] if rows.ndim == 1 else rows
        if outputs.dtype not in PRECISIONS:
            outputs = outputs.astype(np.float64)
        layout = self._layout_of(outputs)
        actions = np.zeros(len(outputs), np.uint8)
        if self._is_clear(outputs, layout):
            return Verdict(self.name, actions)
        reasons: dict[int, tuple[Reason, ...]] = {}
        for fault in self._faults(outputs, layout):
            actions[fault.row] = max(actions[fault.row], self._actions[fault.reason.kind])
            reasons[fault.row] = (*reasons.get(fault.row, ()), fault.reason)
        return Verdict(self.name, actions, reasons=reasons)

    @property
    def has_classes(self) -> bool:
        """Whether the answers are classes, which one can be more or less sure of."""
        return self._layout is not None and self._layout.reading is not None

    def confidence(self, answers: Rows) -> NDArray[np.float64]:
        """How sure the model is of each answer, shape (n, width): calibrated where it could be."""
        if self._layout is None or self._layout.reading is None:
            return np.asarray(answers.max(axis=1), np.float64)
        return np.asarray(self.probabilities(answers).max(axis=1))

    def probabilities(self, answers: Rows) -> Probabilities:
        """Give the probability of each class, shape (n, classes), calibrated where it could be.

        Raises:
            ValueError: the answers are no classes.
        """
        if self.calibration is not None:
            return self.calibration.probabilities(answers)
        if self._layout is None or self._layout.reading is None:
            raise ValueError("the answers are no classes")
        return self._layout.reading.probabilities(answers)

    def _layout_of(self, outputs: Rows) -> Layout:
        """Find the layout, or make one for a guard that was given none."""
        width = outputs.shape[-1]
        if self._layout is None:
            return Layout.of([("output", width, Range())], width=width)
        if outputs.ndim != 2 or width != len(self._layout.names):
            raise ShapeMismatchError(self.name, len(self._layout.names), outputs.shape)
        return self._layout

    def _must_sum(self, layout: Layout) -> bool:
        return self._checks_sum and layout.must_sum

    def _is_clear(self, outputs: Rows, layout: Layout) -> bool:
        """Clear a whole batch at once, in few passes; what is not clear is looked at again."""
        if not outputs.size:
            return True
        if self._layout is None:
            if not np.isfinite(outputs).all():
                return False
        else:
            low, high = self._quick[outputs.dtype]
            if not (outputs.min() >= low and outputs.max() <= high):  # neither holds of NaN
                return False
        answers = outputs[:, : layout.width]
        if (
            self._must_sum(layout)
            and not (np.abs(answers.sum(axis=1) - 1) <= layout.tolerance).all()
        ):
            return False
        return not self._least or bool((self.confidence(answers) >= self._least).all())

    def _faults(self, outputs: Rows, layout: Layout) -> list[Fault]:
        """Find what is wrong with which row; sums and confidence of finite answers only."""
        faults = find_broken(outputs, layout) + find_outside(outputs, layout)
        finite = np.flatnonzero(np.isfinite(outputs).all(axis=1))
        answers = outputs[finite, : layout.width]
        if self._must_sum(layout):
            faults += find_off_sum(answers, finite, layout)
        if self._least and len(finite):
            confidence = self.confidence(answers)
            faults += find_unsure(confidence, finite, least=self._least, name=layout.answer)
        return faults
