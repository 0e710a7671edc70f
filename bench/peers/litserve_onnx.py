"""LitServe, one worker.  ``python litserve_onnx.py HTTP_PORT``; it has no protocol of its own."""

import sys

import litserve as ls
from onnx_model import OnnxModel, models


class Onnx(ls.LitAPI):
    """The model, called per request: batching costs a wait and gains nothing for a tiny model."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(api_path=f"/v2/models/{name}/infer")
        self._path = path

    def setup(self, device) -> None:
        self._onnx = OnnxModel(self._path)

    def predict(self, request):
        return self._onnx.predict_json(request)


if __name__ == "__main__":
    server = ls.LitServer(
        [Onnx(name, path) for name, path in models().items()],
        accelerator="cpu",
        workers_per_device=1,
        fast_queue=True,
        max_payload_size=64 * 1024 * 1024,
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False
    )
