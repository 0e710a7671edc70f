"""Models that answer every tensor with itself: one input and one output per datatype.

``identity`` has every datatype that has a JSON form, ``half`` has FP16, which has none.
"""

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper

from models.bundle import Bundle
from models.manifest import (
    Capture,
    Expectations,
    Manifest,
    RuntimeSpec,
    Signature,
    TensorSpec,
)
from models.pack import pack
from models.signing import SigningKey

WIDTH = 4
ELEMENTS = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
MODELS = {"identity": tuple(name for name in ELEMENTS if name != "FP16"), "half": ("FP16",)}
DTYPES = {
    "BOOL": np.bool_,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BF16": ml_dtypes.bfloat16,
    "BYTES": np.object_,
    **{f"INT{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
}


def input_name(datatype: str) -> str:
    """Name of the input of one datatype."""
    return f"in_{datatype.lower()}"


def output_name(datatype: str) -> str:
    """Name of the output that repeats it."""
    return f"out_{datatype.lower()}"


def sample(datatype: str, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Draw values from the whole range of a datatype, shape (rows, WIDTH)."""
    size = (rows, WIDTH)
    if datatype == "BYTES":
        words = [
            bytes(rng.integers(97, 123, size=n, dtype=np.uint8))
            for n in rng.integers(0, 9, size=rows * WIDTH)
        ]
        array = np.empty(rows * WIDTH, dtype=np.object_)
        array[:] = words
        return array.reshape(size)
    dtype = np.dtype(DTYPES[datatype])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, size=size, dtype=dtype, endpoint=True)
    if dtype.kind == "b":
        return rng.integers(0, 2, size=size).astype(dtype)
    return rng.normal(size=size).astype(dtype)


def write_onnx(path: Path, name: str) -> None:
    """Write one of `MODELS`."""
    datatypes = MODELS[name]
    graph = helper.make_graph(
        [helper.make_node("Identity", [input_name(d)], [output_name(d)]) for d in datatypes],
        name,
        [_value(input_name(d), ELEMENTS[d]) for d in datatypes],
        [_value(output_name(d), ELEMENTS[d]) for d in datatypes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)


def _value(name: str, element: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, ["n", WIDTH])


def build(out_dir: Path, name: str, key: SigningKey) -> Bundle:
    """Pack one of `MODELS`, without an outlier guard: nothing is unlike anything here."""
    artifact = out_dir / f"{name}.onnx"
    write_onnx(artifact, name)

    def specs(called: Callable[[str], str]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(name=called(d), datatype=d, shape=(-1, WIDTH)) for d in MODELS[name]
        )

    manifest = Manifest(
        name=name,
        version="1",
        runtime=RuntimeSpec(kind="onnx", file="model.onnx"),
        signature=Signature(inputs=specs(input_name), outputs=specs(output_name)),
        expectations=Expectations(latency_ms=2000),
        capture=Capture(share=0.0),
    )
    rows = {input_name(d): sample(d, 64, np.random.default_rng(0)) for d in MODELS[name]}
    return pack(manifest, artifact, reference=rows, held_out=rows, out=out_dir / name, key=key)
