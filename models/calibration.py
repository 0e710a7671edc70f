"""What held-out rows tell about the answers of a model, when its bundle is packed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.output.calibration import OutputCalibration
from guards.output.faults import CONFIDENCE
from guards.output.guard import OutputGuard
from guards.output.settings import OutputSettings
from guards.verdict import Action
from models.manifest import Signature
from models.output_layout import class_reading, lay_out
from models.runtime.protocol import Tensors

MOST_STOPPED = 0.5  # of ordinary answers; a guard that stops more was set up for another model


def fit_calibration(
    settings: OutputSettings,
    signature: Signature,
    outputs: Tensors,
    labels: NDArray[Any] | None,
) -> OutputCalibration | None:
    """Learn how sure the model may be of its classes; None where nothing tells.

    Args:
        settings: Of the output guard.
        signature: Of the model.
        outputs: What it answers to held-out rows.
        labels: Their classes, shape (n,), whole numbers from 0.

    Raises:
        ValueError: there are not as many labels as rows, they are no classes, or they lack and
            are needed.
        CalibrationTooSmallError: too few for the coverage asked for.
    """
    answer = signature.answer
    reading = class_reading(answer)
    if labels is None or reading is None:
        if settings.prediction_set is not None:
            raise ValueError("guards.output.prediction_set needs the labels of the held-out rows")
        return None
    answers = outputs[answer.name].reshape(-1, answer.row_width)
    if labels.shape != (len(answers),):
        raise ValueError("there must be one label per held-out row")
    if labels.dtype.kind not in "biuf" or not (labels == np.rint(labels.astype(float))).all():
        raise ValueError("labels of held-out rows must be whole numbers, the classes")
    return OutputCalibration.fit(reading, answers, labels.astype(int), settings.prediction_set)


def check_ordinary_answers(
    guard: OutputGuard, settings: OutputSettings, signature: Signature, outputs: Tensors
) -> None:
    """Refuse a guard that would call most of what the model answers to ordinary rows broken.

    How often the model may abstain is for its people to say.

    Raises:
        ValueError: it would; probabilities of labels that may come together do not sum to one, say.
    """
    rows = lay_out(outputs, signature, settings)
    if not rows.size:
        return
    verdict = guard.check(rows)
    broken = {
        row: kinds
        for row, why in verdict.reasons.items()
        if verdict.actions[row] >= Action.FALLBACK
        and (kinds := {reason.kind for reason in why} - {CONFIDENCE})
    }
    if len(broken) > MOST_STOPPED * len(rows):
        told = ", ".join(sorted(set().union(*broken.values())))
        raise ValueError(
            f"guards.output would stop {len(broken)} of {len(rows)} ordinary answers: {told}"
        )
