"""MLServer: a custom runtime.  ``python mlserver_onnx.py HTTP_PORT GRPC_PORT`` writes its settings and starts it."""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from onnx_model import OnnxModel, models


class Onnx(MLModel):
    """The model behind MLServer's own codecs."""

    async def load(self) -> bool:
        self._onnx = OnnxModel(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        inputs = {tensor.name: self._array(tensor) for tensor in payload.inputs}
        outputs = self._onnx.predict(inputs)
        asked = [output.name for output in payload.outputs or []] or list(outputs)
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            id=payload.id,
            outputs=[self._tensor(name, outputs[name]) for name in asked],
        )

    @staticmethod
    def _array(tensor):
        if tensor.datatype == "BYTES":
            return np.array(StringCodec.decode_input(tensor), object).reshape(tensor.shape)
        return NumpyCodec.decode_input(tensor)

    @staticmethod
    def _tensor(name, array):
        if array.dtype == object:
            output = StringCodec.encode_output(name, array.ravel().tolist())
            output.shape = list(array.shape)
            return output
        return NumpyCodec.encode_output(name, array)


def main() -> None:
    http, grpc = int(sys.argv[1]), int(sys.argv[2])
    root = Path(tempfile.mkdtemp(prefix="mlserver-"))
    settings = {
        "host": "127.0.0.1",
        "http_port": http,
        "grpc_port": grpc,
        "metrics_endpoint": None,
        "parallel_workers": 0,  # the model is cheaper than a trip to a worker process
        "gzip_enabled": False,
        "debug": False,
        "environments_dir": str(root / ".envs"),
        "metrics_dir": str(root / ".metrics"),
    }
    (root / "settings.json").write_text(json.dumps(settings))
    for name, path in models().items():
        described = OnnxModel(path)

        def told(tensors):
            return [
                {"name": n, "datatype": d, "shape": [-1 if isinstance(s, str) else s for s in shape]}
                for n, d, shape in tensors
            ]

        (root / name).mkdir()
        (root / name / "model-settings.json").write_text(
            json.dumps(
                {
                    "name": name,
                    "implementation": "mlserver_onnx.Onnx",
                    "platform": "onnxruntime",
                    "parameters": {"uri": path, "version": "1"},
                    "inputs": told(described.inputs),
                    "outputs": told(described.outputs),
                }
            )
        )
    os.chdir(root)
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    os.execv(str(Path(sys.executable).with_name("mlserver")), ["mlserver", "start", str(root)])


if __name__ == "__main__":
    main()
