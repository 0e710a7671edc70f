"""A real ONNX model with one input of numbers and one of strings; it answers each with itself."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from models.bundle import Bundle
from models.bytes_tensor import as_elements
from models.manifest import Capture, Expectations, Manifest, RuntimeSpec, Signature, TensorSpec
from models.pack import pack
from models.signing import SigningKey

X = TensorSpec(name="x", datatype="FP32", shape=(-1, 2))
S = TensorSpec(name="s", datatype="BYTES", shape=(-1, 1))
Y = TensorSpec(name="y", datatype="FP32", shape=(-1, 2))
T = TensorSpec(name="t", datatype="BYTES", shape=(-1, 1))
SIGNATURE = Signature(inputs=(X, S), outputs=(Y, T))


def build_pair(out_dir: Path, key: SigningKey, *, budget_ms: float = 2000) -> Bundle:
    """Pack the model: ``y`` is ``x``, ``t`` is ``s``."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["s"], ["t"])],
        "pair",
        [_value("x", TensorProto.FLOAT, 2), _value("s", TensorProto.STRING, 1)],
        [_value("y", TensorProto.FLOAT, 2), _value("t", TensorProto.STRING, 1)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    artifact = out_dir / "pair.onnx"
    onnx.save(model, artifact)
    manifest = Manifest(
        name="pair",
        version="1",
        runtime=RuntimeSpec(kind="onnx", file="model.onnx"),
        signature=SIGNATURE,
        expectations=Expectations(latency_ms=budget_ms),
        capture=Capture(share=0.0),
    )
    rows = {
        "x": np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32),
        "s": as_elements([b"a", b"b"] * 32, (64, 1)),
    }
    return pack(manifest, artifact, reference=rows, held_out=rows, out=out_dir / "pair", key=key)


def _value(name: str, element: int, width: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, ["n", width])
