"""Ray Serve as it comes: its own proxy, one replica.  ``python ray_onnx.py HTTP_PORT``."""

import sys
import tempfile
import time

import ray
from onnx_model import OnnxModel, models
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig
from starlette.requests import Request

QUIET = LoggingConfig(log_level="WARNING", enable_access_log=False)


class Onnx:
    """One model behind the route of an inference request."""

    def __init__(self, path: str) -> None:
        self._onnx = OnnxModel(path)

    async def __call__(self, request: Request) -> dict:
        return self._onnx.predict_json(await request.json())


def main() -> None:
    ray.init(
        num_cpus=4,
        object_store_memory=100 * 1024 * 1024,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=tempfile.mkdtemp(prefix="ray-"),
    )
    where = HTTPOptions(host="127.0.0.1", port=int(sys.argv[1]))
    serve.start(http_options=where, logging_config=QUIET)
    deployment = serve.deployment(
        Onnx,
        max_ongoing_requests=100,  # the default, 5, is for models that take their time
        ray_actor_options={"num_cpus": 0.1},
        logging_config=QUIET,
    )
    # The first one last: who waits for this server asks that one.
    for name, path in reversed(models().items()):
        serve.run(deployment.bind(path), name=name, route_prefix=f"/v2/models/{name}/infer")
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
