"""The same model without a gateway: what Handrail is compared with.

``python bench/bare.py uvicorn PORT MODEL`` or ``python bench/bare.py serve PORT MODEL``; prints
``ready`` and runs until it is killed.  Both answer the same request in the same protocol.
"""

import os
import sys
import tempfile
import time
from typing import Any

import numpy as np
import orjson


def build_app(model: str) -> Any:
    """Build the ASGI application: parse, one call of the model, answer."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        model, sess_options=options, providers=["CPUExecutionProvider"]
    )

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        tensor = orjson.loads(body)["inputs"][0]
        rows = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
        [answer] = session.run(None, {"features": rows})
        output = {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": answer.shape,
            "data": answer.reshape(-1),
        }
        body = orjson.dumps(
            {"model_name": "mlp", "outputs": [output]}, option=orjson.OPT_SERIALIZE_NUMPY
        )
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def run_uvicorn(port: int, model: str) -> None:
    """Serve with uvicorn alone: the ceiling."""
    import uvicorn

    config = uvicorn.Config(
        build_app(model), host="127.0.0.1", port=port, log_level="warning", access_log=False
    )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    uvicorn.Server(config).run()


def run_serve(port: int, model: str) -> None:
    """Serve with one Ray Serve replica behind HAProxy, in Serve's own throughput mode."""
    from pathlib import Path

    from gateway.cluster import SERVE_OWN_THROUGHPUT, haproxy_on_loopback

    os.environ.update(SERVE_OWN_THROUGHPUT | haproxy_on_loopback())
    import ray
    from ray import serve
    from ray.serve.config import HTTPOptions
    from ray.serve.schema import LoggingConfig

    ray.init(
        num_cpus=4,
        object_store_memory=100 * 1024 * 1024,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=tempfile.mkdtemp(prefix="bare-"),
    )
    quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=port), logging_config=quiet)
    sys.path.insert(0, str(Path(__file__).parent))

    def builder() -> Any:
        return build_app(model)

    deployment = serve.deployment(
        serve.ingress(builder)(type("Bare", (), {})),
        max_ongoing_requests=100_000,
        ray_actor_options={"num_cpus": 0.1},
        logging_config=quiet,
    )
    serve.run(deployment.bind(), name="bare", route_prefix="/v2/models/mlp")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    {"uvicorn": run_uvicorn, "serve": run_serve}[sys.argv[1]](int(sys.argv[2]), sys.argv[3])
