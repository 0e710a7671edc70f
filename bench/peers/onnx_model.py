"""What every peer serves: an ONNX model on one onnxruntime thread.

Runs in the peers' own environments.  ``MODELS`` in the environment names the models:
``name=path,name=path``.
"""

import os

import numpy as np
import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

ELEMENTS = {
    "tensor(bool)": "BOOL", "tensor(string)": "BYTES", "tensor(float16)": "FP16",
    "tensor(float)": "FP32", "tensor(double)": "FP64",
    **{f"tensor(int{bits})": f"INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"tensor(uint{bits})": f"UINT{bits}" for bits in (8, 16, 32, 64)},
}  # fmt: skip


class BadInputError(Exception):
    """The request does not fit the model."""


def models() -> dict[str, str]:
    """Names and paths of the models to serve."""
    return dict(pair.split("=", 1) for pair in os.environ["MODELS"].split(","))


class OnnxModel:
    """One session, called as quickly as it can be."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(
            path, sess_options=options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [(i.name, ELEMENTS[i.type], i.shape) for i in self.session.get_inputs()]
        self.outputs = [(o.name, ELEMENTS[o.type], o.shape) for o in self.session.get_outputs()]

    def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Answer rows, or raise `BadInputError`."""
        texts = {name: _texts(a) for name, a in inputs.items() if a.dtype == object}
        try:
            arrays = self.session.run(None, inputs | texts)
        except (InvalidArgument, ValueError) as error:
            raise BadInputError(str(error)) from error
        return {name: array for (name, _, _), array in zip(self.outputs, arrays, strict=True)}

    def predict_json(self, request: dict) -> dict:
        """Answer the JSON of an inference request, for servers that leave the protocol to us."""
        inputs = {
            tensor["name"]: np.array(tensor["data"], np.float32).reshape(tensor["shape"])
            for tensor in request["inputs"]
        }
        outputs = [
            {"name": name, "datatype": "FP32", "shape": list(a.shape), "data": a.ravel().tolist()}
            for name, a in self.predict(inputs).items()
        ]
        return {"outputs": outputs}


def _texts(array: np.ndarray) -> np.ndarray:
    """Decode bytes, which ONNX Runtime would take as the text ``b'...'``."""
    texts = [text.decode() if isinstance(text, bytes) else text for text in array.ravel()]
    return np.array(texts, object).reshape(array.shape)


def tensor_metadata(tensors: list[tuple]) -> list[dict]:
    """Describe tensors as the protocol does; a free dimension is -1."""
    return [
        {
            "name": name,
            "datatype": datatype,
            "shape": [-1 if isinstance(size, str) else size for size in shape],
        }
        for name, datatype, shape in tensors
    ]
