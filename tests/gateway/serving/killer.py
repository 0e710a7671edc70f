"""A real ONNX model that crashes or hangs its process on some rows, as a bundle could bring it.

``CRASH``: the smallest INT32 divided by -1, which x86 answers with SIGFPE; ONNX Runtime checks
for zero only.  From 1e6 on, the row is the number of rounds of a loop; `HANG` takes an hour.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from models.bundle import Bundle
from models.manifest import (
    ConstantRung,
    Expectations,
    GuardsSpec,
    Manifest,
    RuntimeSpec,
    Signature,
    TensorSpec,
)
from models.pack import pack
from models.signing import SigningKey

CRASH, HANG = -1.0, 1e10
SMALLEST = -(2**31)
LONG = 1e6  # smaller rows do not loop


def answer(row: float) -> float:
    """Say what the model answers to an ordinary row."""
    return float(np.float32(int(SMALLEST / int(row))))


def killer_onnx() -> bytes:
    """Write the graph: ``x`` (n, 1) -> ``SMALLEST / int(x)``, after so many rounds of nothing."""
    scalar, rows = [], ["n", 1]
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Identity", ["row"], ["row_on"]),
        ],
        "nothing",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, scalar),
            helper.make_tensor_value_info("go", TensorProto.BOOL, scalar),
            helper.make_tensor_value_info("row", TensorProto.FLOAT, rows),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, scalar),
            helper.make_tensor_value_info("row_on", TensorProto.FLOAT, rows),
        ],
    )
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
            helper.make_node("Div", ["largest", "long"], ["share"]),
            helper.make_node("Floor", ["share"], ["whole"]),
            helper.make_node("Mul", ["whole", "long"], ["rounds"]),
            helper.make_node("Cast", ["rounds"], ["trips"], to=TensorProto.INT64),
            helper.make_node("Loop", ["trips", "", "x"], ["looped"], body=body),
            helper.make_node("Cast", ["looped"], ["divisor"], to=TensorProto.INT32),
            helper.make_node("Div", ["smallest", "divisor"], ["quotient"]),
            helper.make_node("Cast", ["quotient"], ["y"], to=TensorProto.FLOAT),
        ],
        "killer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, rows)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, rows)],
        [
            helper.make_tensor("long", TensorProto.FLOAT, [], [LONG]),
            helper.make_tensor("smallest", TensorProto.INT32, [1], [SMALLEST]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def build_killer(
    out_dir: Path, key: SigningKey, *, name: str = "killer", budget_ms: float = 500, ladder: bool
) -> Bundle:
    """Pack the model, with a constant below it or with nothing."""
    out_dir.mkdir(parents=True, exist_ok=True)
    artifact = out_dir / f"{name}.onnx"
    onnx.save(onnx.load_from_string(killer_onnx()), artifact)
    manifest = Manifest(
        name=name,
        version="1",
        runtime=RuntimeSpec(kind="onnx", file="model.onnx", device="cpu"),
        signature=Signature(
            inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 1)),),
            outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 1), role="value"),),
        ),
        fallback=(ConstantRung(outputs={"y": [0.0]}),) if ladder else (),
        guards=GuardsSpec(),
        expectations=Expectations(latency_ms=budget_ms),
    )
    rows = {"x": np.arange(2, 66, dtype=np.float32)[:, None]}
    return pack(manifest, artifact, reference=rows, held_out=rows, out=out_dir / name, key=key)
