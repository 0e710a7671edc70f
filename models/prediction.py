"""One number per row that says what the model answered: a class, or a value.

Live and shadow versions, fallbacks, labels and reports are compared through it, so there
is one definition of it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.manifest import Signature, TensorSpec
from models.runtime.protocol import Tensors

_RANKED = frozenset({"probabilities", "logits", "scores", None})  # one number per class
_CUT = {"probabilities": 0.5, "logits": 0.0}  # of the one number that a binary model gives


def answer_output(signature: Signature) -> TensorSpec:
    """Pick the output that holds the answer: by role, else the first."""
    outputs = signature.outputs
    return next((spec for spec in outputs if spec.role not in (None, "embedding")), outputs[0])


def answers_classes(signature: Signature) -> bool:
    """Whether the predictions are classes, so that being right is a matter of equality."""
    spec = answer_output(signature)
    if spec.role is None and spec.row_width == 1:
        return not spec.datatype.startswith("FP")
    return (
        spec.role == "label" or spec.role in _CUT or (spec.role in _RANKED and spec.row_width > 1)
    )


def predicted(outputs: Tensors, signature: Signature) -> NDArray[np.float64]:
    """Summarise the answer to each row, shape (n,): the class index, or the value.

    Several values in one row are not one number: they come out as NaN, which agrees with
    nothing.
    """
    spec = answer_output(signature)
    answer: NDArray[Any] = outputs[spec.name].reshape(-1, spec.row_width)
    value: NDArray[Any] = answer[:, 0]
    if spec.row_width > 1:
        value = answer.argmax(axis=1) if spec.role in _RANKED else np.full(len(answer), np.nan)
    elif spec.role in _CUT:
        value = value > _CUT[spec.role]
    return value.astype(np.float64)
