"""MLServer: a custom runtime.  ``python mlserver_onnx.py HTTP_PORT GRPC_PORT``.

Writes its settings to the working directory, and starts the server there.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse
from onnx_model import BadInputError, OnnxModel, models, tensor_metadata

MESSAGE_BYTES = 64 * 1024 * 1024


class Onnx(MLModel):
    """The model behind MLServer's own codecs."""

    async def load(self) -> bool:
        self._onnx = OnnxModel(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        inputs = {tensor.name: _array(tensor) for tensor in payload.inputs}
        try:
            outputs = self._onnx.predict(inputs)
        except BadInputError as error:
            raise InferenceError(str(error)) from error
        asked = [output.name for output in payload.outputs or []] or list(outputs)
        if unknown := set(asked) - set(outputs):
            raise InferenceError(f"there is no output {sorted(unknown)}")
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            id=payload.id,
            outputs=[_tensor(name, outputs[name]) for name in asked],
        )


def _array(tensor):
    if tensor.datatype == "BYTES":  # nested or flat, which StringCodec does not tell apart
        return np.array(list(tensor.data), object).reshape(tensor.shape)
    return NumpyCodec.decode_input(tensor)


def _tensor(name, array):
    if array.dtype == object:
        output = StringCodec.encode_output(name, array.ravel().tolist())
        output.shape = list(array.shape)
        return output
    return NumpyCodec.encode_output(name, array)


def _write(path: Path, settings: dict) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(settings))


def main() -> None:
    root = Path.cwd()
    _write(
        root / "settings.json",
        {
            "host": "127.0.0.1",
            "http_port": int(sys.argv[1]),
            "grpc_port": int(sys.argv[2]),
            "grpc_max_message_length": MESSAGE_BYTES,
            "metrics_endpoint": None,
            "parallel_workers": 0,  # the model is cheaper than a trip to a worker process
            "gzip_enabled": False,
            "debug": False,
        },
    )
    for name, path in models().items():
        described = OnnxModel(path)
        _write(
            root / name / "model-settings.json",
            {
                "name": name,
                "implementation": "mlserver_onnx.Onnx",
                "platform": "onnxruntime",
                "versions": ["1"],
                "parameters": {"uri": path, "version": "1"},
                "inputs": tensor_metadata(described.inputs),
                "outputs": tensor_metadata(described.outputs),
            },
        )
    os.execv(str(Path(sys.executable).with_name("mlserver")), ["mlserver", "start", str(root)])


if __name__ == "__main__":
    main()
