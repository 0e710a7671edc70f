"""Convert a scikit-learn classifier to ONNX under the names of a signature."""

from typing import Any

import numpy as np
from skl2onnx import to_onnx

OPSET = 20
ML_OPSET = 3


def classifier_onnx(model: Any, *, input_name: str, width: int) -> bytes:
    """Write a fitted classifier, from rows (n, ``width``) of FP32 to ``probabilities``."""
    converted = to_onnx(
        model,
        np.zeros((1, width), np.float32),
        target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
        options={"zipmap": False},  # a plain tensor of probabilities, not a list of dictionaries
    )
    # skl2onnx names its input X; the signature's name is what clients see.
    for value in converted.graph.input:
        value.name = input_name
    for node in converted.graph.node:
        node.input[:] = [input_name if name == "X" else name for name in node.input]
    content: bytes = converted.SerializeToString()
    return content
