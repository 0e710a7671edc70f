"""A real ONNX model that fails on some rows: it looks up a table at the place a row names."""

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
    VersionRung,
)
from models.pack import pack
from models.signing import SigningKey

PLACES = 8  # a row with another number makes the model fail


def build_lookup(
    out_dir: Path, key: SigningKey, *, version: str = "1", fallback: str | None = None
) -> Bundle:
    """Pack a model that answers ``place + version`` for places 0 to 7, and fails on others."""
    table = np.arange(PLACES, dtype=np.float32) + float(version)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["place"], ["index"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "index"], ["value"], axis=0),
        ],
        "lookup",
        [helper.make_tensor_value_info("place", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("value", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor("table", TensorProto.FLOAT, [PLACES], table)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    out_dir.mkdir(parents=True, exist_ok=True)
    artifact = out_dir / f"lookup-{version}.onnx"
    onnx.save(model, artifact)
    constant = ConstantRung(outputs={"value": [-1.0]})
    manifest = Manifest(
        name="lookup",
        version=version,
        runtime=RuntimeSpec(kind="onnx", file="model.onnx"),
        signature=Signature(
            inputs=(TensorSpec(name="place", datatype="FP32", shape=(-1, 1)),),
            outputs=(TensorSpec(name="value", datatype="FP32", shape=(-1, 1), role="value"),),
        ),
        fallback=(VersionRung(version=fallback), constant) if fallback else (),
        guards=GuardsSpec(),
        expectations=Expectations(latency_ms=2000),
    )
    places = np.arange(PLACES, dtype=np.float32)[:, None]
    return pack(
        manifest,
        artifact,
        reference={"place": places},
        held_out={"place": places},
        out=out_dir / f"lookup-{version}",
        key=key,
    )
