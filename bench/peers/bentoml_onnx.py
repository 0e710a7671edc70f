"""BentoML, one worker.  ``bentoml serve bentoml_onnx:Onnx``; its API has no protocol of its own."""

from typing import Any

import bentoml
from onnx_model import OnnxModel, models


@bentoml.service(
    workers=1,
    traffic={"timeout": 60},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Onnx:
    """The models, a route each; async, which saves a thread hop that costs more than the model."""

    def __init__(self) -> None:
        self._models = {name: OnnxModel(path) for name, path in models().items()}

    @bentoml.api(route="/v2/models/mlp/infer")
    async def mlp(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        return self._models["mlp"].predict_json({"inputs": inputs})

    @bentoml.api(route="/v2/models/image/infer")
    async def image(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        return self._models["image"].predict_json({"inputs": inputs})
