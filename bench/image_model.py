"""A model over 3x224x224 floats that computes next to nothing: what is measured is transport."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.bundle import Bundle
from models.examples.mlp import IR_VERSION, OPSET
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
from models.signing import SigningKey

NAME = "image"
SHAPE = (3, 224, 224)
CLASSES = 10
FITTED_ROWS = 64  # of 600 KB each; the schema needs one range for all pixels
SEED = 0


def image_rows(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw images of standard normals, shape (count, 3, 224, 224)."""
    return rng.standard_normal((count, *SHAPE), dtype=np.float32)


def build_image(out_dir: Path, key: SigningKey) -> Bundle:
    """Pack the model to ``out_dir/image``, with every guard there is for it.

    That is no outlier guard: over 150,528 raw columns its covariance would take 169 GiB.
    """
    rng = np.random.default_rng(SEED)
    manifest = Manifest(
        name=NAME,
        version="1",
        runtime=RuntimeSpec(kind="onnx", file="model.onnx"),
        signature=Signature(
            inputs=(TensorSpec(name="image", datatype="FP32", shape=(-1, *SHAPE)),),
            outputs=(
                TensorSpec(
                    name="probabilities",
                    datatype="FP32",
                    shape=(-1, CLASSES),
                    role="probabilities",
                ),
            ),
        ),
        expectations=Expectations(latency_ms=2000),  # JSON of this size takes its time
        guards=GuardsSpec(outlier=None),
        capture=Capture(share=1.0),
    )
    with tempfile.TemporaryDirectory() as scratch:
        artifact = Path(scratch) / "model.onnx"
        artifact.write_bytes(image_onnx(rng))
        return pack(
            manifest,
            artifact,
            reference={"image": image_rows(FITTED_ROWS, rng)},
            held_out={"image": image_rows(FITTED_ROWS, rng)},
            out=out_dir / NAME,
            key=key,
            golden_rows=8,
        )


def image_onnx(rng: np.random.Generator) -> bytes:
    """Write the network: the mean of every channel, a dense layer, softmax."""
    # The mean of 50,176 standard normals is about 1/224: scaled back, or all answers look alike.
    weight = 224 * rng.standard_normal((SHAPE[0], CLASSES), dtype=np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("MatMul", ["means", "weight"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    start = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["rows", *SHAPE])
    end = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["rows", CLASSES])
    graph = helper.make_graph(
        nodes, NAME, [start], [end], [numpy_helper.from_array(weight, "weight")]
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
