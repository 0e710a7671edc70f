"""Models whose answer is a choice, for tests: a linear score in ONNX, and what a gateway needs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from guards.explore.settings import SlateExplore
from models.bundle import Bundle
from models.manifest import Manifest
from models.pack import pack
from models.signing import SigningKey

WIDTH = 3
WEIGHTS = np.array([0.6, -0.3, 0.2], np.float32)
ACTIONS = np.column_stack([WEIGHTS, -WEIGHTS, WEIGHTS[::-1], -WEIGHTS[::-1]])  # four columns
CONTEXT = {
    "item": ("INT64", np.int64),
    "in_stock": ("BOOL", np.bool_),
    "user": ("BYTES", np.object_),
    "quota": ("FP32", np.float32),
    "shown": ("INT32", np.int32),
}


def ranking_onnx(weights: NDArray[np.float32]) -> bytes:
    """Score each row by fixed linear functions of its features, (WIDTH, columns)."""
    held = numpy_helper.from_array(weights, "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "weights"], ["score"])],
        "ranking",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", WIDTH])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows", weights.shape[1]])],
        [held],
    )
    opset = [helper.make_opsetid("", 17)]
    content: bytes = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    return content


def build_ranking(
    root: Path,
    key: SigningKey,
    explore: Any,
    *,
    name: str = "feed",
    version: str = "1",
    context: tuple[str, ...] = ("item", "in_stock"),
    datatypes: Mapping[str, str] | None = None,
    weights: NDArray[np.float32] = WEIGHTS[:, None],
    **fields: Any,
) -> Bundle:
    """Pack a ranking model whose requests list candidates row by row, or one of several columns."""
    artifact = root / f"{name}-{version}.onnx"
    artifact.write_bytes(ranking_onnx(weights))
    types = {name: datatype for name, (datatype, _) in CONTEXT.items()} | dict(datatypes or {})
    inputs = [{"name": "features", "datatype": "FP32", "shape": [-1, WIDTH]}]
    inputs += [
        {"name": one, "datatype": types[one], "shape": [-1], "role": "context"} for one in context
    ]
    shape = [-1, weights.shape[1]]
    score = {"name": "score", "datatype": "FP32", "shape": shape, "role": "scores"}
    manifest = Manifest.model_validate(
        {
            "name": name,
            "version": version,
            "runtime": {"kind": "onnx", "file": "model.onnx"},
            "signature": {"inputs": inputs, "outputs": [score]},
            "explore": explore.model_dump(),
            "expectations": {"latency_ms": 30_000},  # a busy machine does not decide what is shown
            **fields,
        }
    )
    rng = np.random.default_rng(0)
    return pack(
        manifest,
        artifact,
        reference=candidates(rng, 300, context, types),
        held_out=candidates(rng, 300, context, types),
        out=root / f"{name}-{version}-bundle",
        key=key,
    )


def candidates(
    rng: np.random.Generator,
    n: int,
    context: tuple[str, ...] = ("item", "in_stock"),
    types: Mapping[str, str] | None = None,
) -> dict[str, NDArray[Any]]:
    """Make up candidates; all in stock."""
    types = types or {}
    items = 100 + np.arange(n)
    made: dict[str, NDArray[Any]] = {
        "item": _texts([b"item %d" % item for item in items])
        if types.get("item") == "BYTES"
        else items.astype(np.int64),
        "in_stock": np.ones(n, np.bool_),
        "user": _texts([b"somebody"] * n),
        "quota": rng.integers(0, 3, n).astype(np.float32),
        "shown": np.zeros(n, np.int32),
    }
    features = rng.normal(size=(n, WIDTH)).astype(np.float32)
    return {"features": features} | {one: made[one] for one in context}


def _texts(texts: list[bytes]) -> NDArray[Any]:
    held = np.empty(len(texts), np.object_)
    held[:] = texts
    return held


def slate(**fields: Any) -> SlateExplore:
    """Explore the ranking above."""
    return SlateExplore.model_validate(
        {
            "ids": "item",
            "eligible": "in_stock",
            "slots": 3,
            "policy": {"kind": "plackett_luce", "tau": 0.3},
        }
        | fields
    )


def tensor(name: str, array: NDArray[Any]) -> dict[str, Any]:
    types = {"f": "FP32", "b": "BOOL", "O": "BYTES"}
    kind = types.get(array.dtype.kind) or f"INT{8 * array.dtype.itemsize}"
    data = [one.decode() for one in array.ravel()] if kind == "BYTES" else array.ravel().tolist()
    return {"name": name, "shape": list(array.shape), "datatype": kind, "data": data}


async def ask(
    served: Any, inputs: dict[str, NDArray[Any]], request_id: str, **parameters: Any
) -> dict[str, Any]:
    body = {"inputs": [tensor(*one) for one in inputs.items()], "parameters": parameters}
    response = await served.client.post(
        "/infer", content=orjson.dumps(body), headers={"x-request-id": request_id}
    )
    answer = response.json()
    answer["status"] = response.status_code
    for output in answer.get("outputs", ()):
        answer[output["name"]] = np.array(output["data"]).reshape(output["shape"])
    return answer


def greedy_of(inputs: dict[str, NDArray[Any]], slots: int = 3) -> list[Any]:
    scores = inputs["features"] @ WEIGHTS
    allowed = np.flatnonzero(inputs.get("in_stock", np.ones(len(scores), bool)))
    ranked = allowed[np.argsort(-scores[allowed])][:slots]
    ids = inputs["item"][ranked]
    return [one.decode() if isinstance(one, bytes) else int(one) for one in ids]
