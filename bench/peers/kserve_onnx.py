"""KServe: a custom model on its ModelServer.  ``python kserve_onnx.py HTTP_PORT GRPC_PORT``."""

import asyncio
import sys

import uvloop
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.errors import InvalidInput
from onnx_model import BadInputError, OnnxModel, models, tensor_metadata


class Onnx(Model):
    """The model behind KServe's own request types."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self._onnx = OnnxModel(path)
        self.ready = True

    async def get_input_types(self):
        return tensor_metadata(self._onnx.inputs)

    async def get_output_types(self):
        return tensor_metadata(self._onnx.outputs)

    async def predict(self, payload: InferRequest, headers=None, response_headers=None):
        inputs = {tensor.name: tensor.as_numpy() for tensor in payload.inputs}
        try:
            outputs = self._onnx.predict(inputs)
        except BadInputError as error:
            raise InvalidInput(str(error)) from error
        asked = [output.name for output in payload.request_outputs or []]
        if unknown := set(asked) - set(outputs):
            raise InvalidInput(f"there is no output {sorted(unknown)}")
        # From here as in kserve.utils.get_predict_response, which knows one output only.
        datatypes = {name: datatype for name, datatype, _ in self._onnx.outputs}
        tensors = []
        for name in asked or outputs:
            tensor = InferOutput(name, list(outputs[name].shape), datatypes[name])
            tensor.set_data_from_numpy(outputs[name], binary_data=payload.use_binary_outputs)
            tensors.append(tensor)
        return InferResponse(
            payload.id or "",
            self.name,
            tensors,
            model_version="1",
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )


if __name__ == "__main__":
    server = ModelServer(
        http_port=int(sys.argv[1]),
        grpc_port=int(sys.argv[2]),
        workers=1,
        enable_grpc=True,
        enable_latency_logging=False,
    )
    # Its own switch, event_loop="uvloop", has no effect with the uvicorn it gets today.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.set_event_loop(asyncio.new_event_loop())
    server.start([Onnx(name, path) for name, path in models().items()])
