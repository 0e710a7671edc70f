"""From named output tensors to the rows that the output guard judges."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.output.classes import ClassReading
from guards.output.layout import Layout
from guards.output.settings import OutputSettings, Range
from guards.verdict import Rows
from models.manifest import Signature, TensorSpec
from models.runtime.protocol import Tensors

# What adding up as many probabilities as a datatype can hold apart makes of their sum.
TOLERANCES = {"FP64": 1e-6, "FP32": 1e-3, "FP16": 1e-2, "BF16": 5e-2}


def output_layout(signature: Signature, settings: OutputSettings) -> Layout:
    """Lay out the answer, if it is numbers, and every other output that has a range."""
    judged = _judged(signature, settings)
    answer, ranges = signature.answer, settings.ranges
    return Layout.of(
        [(spec.name, spec.row_width, ranges.get(spec.name, Range())) for spec in judged],
        width=answer.row_width if answer in judged else 0,
        reading=class_reading(answer),
        tolerance=TOLERANCES.get(answer.datatype, 0.0),
    )


def lay_out(outputs: Tensors, signature: Signature, settings: OutputSettings) -> Rows:
    """Lay the judged outputs side by side, shape (n, columns); one alone is not copied."""
    flat: list[NDArray[Any]] = [
        outputs[spec.name].reshape(-1, spec.row_width) for spec in _judged(signature, settings)
    ]
    if len(flat) == 1:
        return flat[0]
    return np.concatenate(flat, axis=1, dtype=np.float64) if flat else np.empty((0, 0))


def class_reading(answer: TensorSpec) -> ClassReading | None:
    """Say how an answer speaks of classes; None where it does not, or of several things at once."""
    if answer.role not in ("probabilities", "logits") or len(answer.row_shape) > 1:
        return None
    return ClassReading(answer.role, answer.row_width)


def _judged(signature: Signature, settings: OutputSettings) -> list[TensorSpec]:
    answer = signature.answer
    others = [spec for spec in signature.outputs if spec.name in settings.ranges and spec != answer]
    return ([] if answer.datatype == "BYTES" else [answer]) + others
