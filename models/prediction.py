"""One number per row that says what the model answered: a class, or a value.

Live and shadow versions, fallbacks, labels and reports are compared through it, so there
is one definition of it.
"""

from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.manifest import Signature
from models.runtime.protocol import Tensors

_RANKED = frozenset({"probabilities", "logits", "scores", None})  # one number per class
_TEXT_BYTES = 6  # of the digest that stands for a text: a float64 holds 2**48 numbers exactly
_CUT = {"probabilities": 0.5, "logits": 0.0}  # of the one number that a binary model gives


def answers_classes(signature: Signature) -> bool:
    """Whether the predictions are classes, so that being right is a matter of equality."""
    spec = signature.answer
    if spec.datatype == "BYTES":
        return True
    if spec.role is None and spec.row_width == 1:
        return not spec.datatype.startswith("FP")
    return (
        spec.role == "label" or spec.role in _CUT or (spec.role in _RANKED and spec.row_width > 1)
    )


def predicted(outputs: Tensors, signature: Signature) -> NDArray[np.float64]:
    """Summarise the answer to each row, shape (n,): the class index, or the value.

    BYTES come out as a digest of the row, so that equal answers, and only they, are equal numbers.
    Several values in one row are not one number: they come out as NaN, which agrees with
    nothing.
    """
    spec = signature.answer
    answer: NDArray[Any] = outputs[spec.name].reshape(-1, spec.row_width)
    if spec.datatype == "BYTES":
        return np.array([text_number(*row) for row in answer.tolist()], np.float64)
    value: NDArray[Any] = answer[:, 0]
    if spec.row_width > 1:
        value = answer.argmax(axis=1) if spec.role in _RANKED else np.full(len(answer), np.nan)
    elif spec.role in _CUT:
        value = value > _CUT[spec.role]
    return value.astype(np.float64)


def text_number(*elements: bytes) -> float:
    """Give the number that stands for a row of BYTES: a whole one, the same in every process."""
    digest = blake2b(digest_size=_TEXT_BYTES)
    for element in elements:
        digest.update(len(element).to_bytes(8, "little") + element)
    return float(int.from_bytes(digest.digest(), "little"))
