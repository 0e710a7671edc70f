"""KServe: a custom model on its ModelServer.  ``python kserve_onnx.py HTTP_PORT GRPC_PORT``."""

import sys

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from onnx_model import OnnxModel, models


class Onnx(Model):
    """The model behind KServe's own request types."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self._onnx = OnnxModel(path)
        self.ready = True

    async def get_input_types(self):
        return [_told(*tensor) for tensor in self._onnx.inputs]

    async def get_output_types(self):
        return [_told(*tensor) for tensor in self._onnx.outputs]

    async def predict(self, payload: InferRequest, headers=None, response_headers=None):
        inputs = {tensor.name: tensor.as_numpy() for tensor in payload.inputs}
        outputs = self._onnx.predict(inputs)
        asked = [o.name for o in payload.request_outputs or []] or list(outputs)
        datatypes = {name: datatype for name, datatype, _ in self._onnx.outputs}
        use_binary = payload.use_binary_outputs
        tensors = []
        for name in asked:
            tensor = InferOutput(name, list(outputs[name].shape), datatypes[name])
            tensor.set_data_from_numpy(outputs[name], binary_data=use_binary)
            tensors.append(tensor)
        return InferResponse(payload.id or "", self.name, tensors)


def _told(name, datatype, shape):
    return {
        "name": name,
        "datatype": datatype,
        "shape": [-1 if isinstance(size, str) else size for size in shape],
    }


if __name__ == "__main__":
    server = ModelServer(
        http_port=int(sys.argv[1]),
        grpc_port=int(sys.argv[2]),
        workers=1,
        enable_grpc=True,
        enable_latency_logging=False,
    )
    server.start([Onnx(name, path) for name, path in models().items()])
