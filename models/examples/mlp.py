"""The model that benchmarks serve: an MLP 30-64-64-2 with drawn weights, 6 us per call in ONNX.

Small on purpose, so that what is measured is the serving and not the model.
"""

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from guards.explore.settings import ExploreSettings, NoExplore
from guards.outlier.guard import OutlierSettings
from models.bundle import Bundle
from models.manifest import (
    Capture,
    ConstantRung,
    GuardsSpec,
    Manifest,
    RuntimeSpec,
    Signature,
    TensorSpec,
)
from models.pack import pack
from models.signing import SigningKey

NAME = "mlp"
WIDTHS = (30, 64, 64, 2)
REFERENCE_ROWS = 4096
HELD_OUT_ROWS = 2000
SEED = 0
NO_CHOICE = NoExplore()
OPSET = 20
IR_VERSION = 10  # the newest that onnxruntime 1.27 reads

SIGNATURE = Signature(
    inputs=(TensorSpec(name="features", datatype="FP32", shape=(-1, WIDTHS[0])),),
    outputs=(
        TensorSpec(
            name="probabilities", datatype="FP32", shape=(-1, WIDTHS[-1]), role="probabilities"
        ),
    ),
)


def build_mlp(
    out_dir: Path,
    key: SigningKey,
    *,
    name: str = NAME,
    explore: ExploreSettings = NO_CHOICE,
) -> Bundle:
    """Pack the model with every guard fitted to ``out_dir/<name>``."""
    rng = np.random.default_rng(SEED)
    manifest = Manifest(
        name=name,
        version="1",
        runtime=RuntimeSpec(kind="onnx", file="model.onnx"),
        signature=SIGNATURE,
        fallback=(ConstantRung(outputs={"probabilities": [0.5, 0.5]}),),
        guards=GuardsSpec(outlier=OutlierSettings(alpha=0.01, delta=0.05)),
        explore=explore,
        capture=Capture(share=1.0),
    )
    with tempfile.TemporaryDirectory() as scratch:
        artifact = Path(scratch) / "model.onnx"
        artifact.write_bytes(mlp_onnx(rng))
        return pack(
            manifest,
            artifact,
            reference={"features": ordinary_rows(REFERENCE_ROWS, rng)},
            held_out={"features": ordinary_rows(HELD_OUT_ROWS, rng)},
            out=out_dir / name,
            key=key,
            feature_names=[f"feature_{column}" for column in range(WIDTHS[0])],
        )


def ordinary_rows(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw rows like those the guards were fitted on: independent standard normals."""
    return rng.standard_normal((count, WIDTHS[0]), dtype=np.float32)


def mlp_onnx(rng: np.random.Generator) -> bytes:
    """Write the network with weights scaled so that every layer keeps unit variance."""
    nodes, weights, value = [], [], "features"
    for layer, (fan_in, fan_out) in enumerate(pairwise(WIDTHS)):
        drawn = rng.standard_normal((fan_in, fan_out), dtype=np.float32)
        scaled = drawn * np.float32(np.sqrt(2 / fan_in))
        weights.append(numpy_helper.from_array(scaled, f"weight_{layer}"))
        weights.append(numpy_helper.from_array(np.zeros(fan_out, np.float32), f"bias_{layer}"))
        nodes.append(
            helper.make_node(
                "Gemm", [value, f"weight_{layer}", f"bias_{layer}"], [f"linear_{layer}"]
            )
        )
        value = f"linear_{layer}"
        if layer < len(WIDTHS) - 2:
            nodes.append(helper.make_node("Relu", [value], [f"relu_{layer}"]))
            value = f"relu_{layer}"
    nodes.append(helper.make_node("Softmax", [value], ["probabilities"], axis=1))
    start = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", WIDTHS[0]])
    end = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", WIDTHS[-1]])
    graph = helper.make_graph(nodes, NAME, [start], [end], weights)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
