"""A model of named columns, numbers and words mixed, that answers each with itself."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from guards.contract.feature import Feature
from guards.contract.rules import Rule
from guards.schema import OnViolation, SchemaSettings
from models.bundle import Bundle
from models.bytes_tensor import as_elements
from models.manifest import (
    Capture,
    Expectations,
    GuardsSpec,
    Manifest,
    RuntimeSpec,
    Signature,
    TensorSpec,
)
from models.pack import pack
from models.runtime.protocol import Tensors
from models.signing import SigningKey

COLUMNS = {"age": "FP32", "income": "INT64", "job": "BYTES"}
ELEMENTS = {"FP32": TensorProto.FLOAT, "INT64": TensorProto.INT64, "BYTES": TensorProto.STRING}
FEATURES = (
    Feature(name="age", low=18, high=100, unit="years", default=40),
    Feature(name="income", kind="integer", low=0, high=10**6, default=30_000),
    Feature(name="job", categories=("clerk", "smith"), default="clerk"),
)
RULES = (
    Rule.model_validate(
        {
            "left": "income",
            "is": "<=",
            "value": 100_000,
            "when": {"left": "job", "is": "==", "value": "clerk"},
        }
    ),
)


def build_columns(
    out_dir: Path,
    key: SigningKey,
    *,
    name: str = "columns",
    version: str = "1",
    features: tuple[Feature, ...] = FEATURES,
    rules: tuple[Rule, ...] = RULES,
    **on: Any,
) -> Bundle:
    """Pack the model; ``on`` says what each kind of violation leads to."""
    graph = helper.make_graph(
        [helper.make_node("Identity", [column], [f"{column}_out"]) for column in COLUMNS],
        "columns",
        [_value(column, datatype) for column, datatype in COLUMNS.items()],
        [_value(f"{column}_out", datatype) for column, datatype in COLUMNS.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    artifact = out_dir / f"{name}.onnx"
    onnx.save(model, artifact)
    manifest = Manifest(
        name=name,
        version=version,
        runtime=RuntimeSpec(kind="onnx", file="model.onnx"),
        signature=Signature(
            inputs=tuple(_spec(column, datatype) for column, datatype in COLUMNS.items()),
            outputs=tuple(_spec(f"{c}_out", datatype) for c, datatype in COLUMNS.items()),
        ),
        expectations=Expectations(latency_ms=2000),
        guards=GuardsSpec(
            schema=SchemaSettings(
                features=features, rules=rules, on_violation=OnViolation.model_validate(on)
            )
        ),
        capture=Capture(share=1.0),
    )
    rows = ordinary_columns(200)
    out = out_dir / f"{name}-{version}"
    return pack(manifest, artifact, reference=rows, held_out=rows, out=out, key=key)


def ordinary_columns(rows: int) -> Tensors:
    """Draw rows as the model was made for."""
    rng = np.random.default_rng(0)
    return {
        "age": rng.uniform(18, 90, (rows, 1)).astype(np.float32),
        "income": rng.integers(1000, 90_000, (rows, 1)),
        "job": as_elements([b"clerk", b"smith"] * (rows // 2), (rows, 1)),
    }


def _spec(name: str, datatype: Any) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=(-1, 1))


def _value(name: str, datatype: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, ELEMENTS[datatype], ["n", 1])
