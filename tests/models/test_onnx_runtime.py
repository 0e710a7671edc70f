"""What only an ONNX model can do wrong once it runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.bundle import Bundle
from models.errors import RuntimeFailedError
from models.manifest import Manifest, RuntimeSpec, Signature, TensorSpec
from models.pack import pack
from models.runtime import onnx as onnx_runtime
from models.runtime.catalog import open_runtime
from models.runtime.cuda import has_cuda_device
from models.signing import SigningKey

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype="INT64", shape=(-1,)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1,)),),
)


def bundle_of(node: onnx.NodeProto, tmp_path: Path) -> Bundle:
    """Pack a model of one node over the integers ``x``, the table 0, 1, 2, and the number two."""
    table = numpy_helper.from_array(np.arange(3, dtype=np.float32), "table")
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["rows"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])],
        [table, numpy_helper.from_array(np.array([2]), "twice")],
    )
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "s.onnx")
    rows = {"x": np.array([0, 1, 2])}
    return pack(
        Manifest(
            name="table",
            version="1",
            runtime=RuntimeSpec(kind="onnx", file="model.onnx", device="cpu"),
            signature=SIGNATURE,
        ),
        tmp_path / "s.onnx",
        reference=rows,
        held_out=rows,
        out=tmp_path / "table",
        key=SigningKey.create(),
    )


def test_a_failure_does_not_quote_the_row_that_caused_it(tmp_path: Path) -> None:
    runtime = open_runtime(bundle_of(helper.make_node("Gather", ["table", "x"], ["y"]), tmp_path))

    with pytest.raises(RuntimeFailedError) as caught:
        runtime.predict({"x": np.array([0, 123456])})
    assert "123456" in str(caught.value.__cause__)
    assert "123456" not in str(caught.value)


def test_an_answer_of_another_shape_than_declared_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailedError, match=r"y came as \(6,\), declared \(3,\)"):
        bundle_of(helper.make_node("Tile", ["table", "twice"], ["y"]), tmp_path)


def test_a_missing_input_is_a_failure(tmp_path: Path) -> None:
    runtime = open_runtime(bundle_of(helper.make_node("Gather", ["table", "x"], ["y"]), tmp_path))

    with pytest.raises(RuntimeFailedError, match="refused the rows"):
        runtime.predict({})


def test_asking_for_a_cuda_device_never_fails() -> None:
    assert has_cuda_device() in (True, False)


def test_a_device_that_onnxruntime_cannot_start_on_is_not_passed_over_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if has_cuda_device():
        pytest.skip("there is a CUDA device")
    bundle = bundle_of(helper.make_node("Gather", ["table", "x"], ["y"]), tmp_path)
    auto = bundle.manifest.runtime.model_copy(update={"device": "auto"})
    bundle = replace(bundle, manifest=bundle.manifest.model_copy(update={"runtime": auto}))
    monkeypatch.setattr(onnx_runtime, "has_cuda_device", lambda: True)

    open_runtime(bundle)

    assert "could not start on CUDA" in caplog.text
