"""What is refused in an ONNX file before anything runs it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.artifact import inspect_onnx
from models.errors import ArtifactError
from models.examples.mlp import mlp_onnx
from models.manifest import Signature, TensorSpec
from models.runtime.catalog import open_runtime

Value = onnx.ValueInfoProto


def signature(**changes: Any) -> Signature:
    wanted = {"name": "x", "datatype": "FP32", "shape": (-1, 3), **changes}
    return Signature(
        inputs=(TensorSpec(**wanted),),
        outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 3)),),
    )


def tensor(name: str, *, dims: list[int | str] | None, element: int = TensorProto.FLOAT) -> Value:
    return helper.make_tensor_value_info(name, element, dims)


def model_of(
    nodes: list[onnx.NodeProto],
    *,
    inputs: list[Value] | None = None,
    outputs: list[Value] | None = None,
    weights: list[TensorProto] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        inputs or [tensor("x", dims=["n", 3])],
        outputs or [tensor("y", dims=["n", 3])],
        weights or [],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("evil", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def refusal(path: Path, model: onnx.ModelProto, spec: Signature | None = None) -> str:
    (path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError) as caught:
        inspect_onnx(path / "model.onnx", spec or signature(), listed={"model.onnx"})
    assert str(path) not in str(caught.value)
    return str(caught.value)


RELU = helper.make_node("Relu", ["x"], ["y"])


def test_a_model_that_agrees_with_its_signature_passes(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(model_of([RELU]).SerializeToString())

    inspect_onnx(tmp_path / "model.onnx", signature(), listed={"model.onnx"})


@pytest.mark.parametrize("content", [b"\xff\xff\xff not protobuf", b"PK\x03\x04"])
def test_bytes_that_are_not_onnx_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)

    with pytest.raises(ArtifactError, match="is not ONNX"):
        inspect_onnx(tmp_path / "model.onnx", signature(), listed={"model.onnx"})


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert "not valid ONNX" in refusal(tmp_path, onnx.ModelProto())


def test_an_operator_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("NoSuchOperator", ["x"], ["y"])]

    assert "not valid ONNX" in refusal(tmp_path, model_of(nodes))


def test_a_custom_operator_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Shell", ["x"], ["y"], domain="evil")]

    assert "custom operators" in refusal(tmp_path, model_of(nodes))


def test_a_custom_operator_hidden_in_a_branch_is_refused(tmp_path: Path) -> None:
    hidden = helper.make_graph(
        [helper.make_node("Shell", ["x"], ["out"], domain="evil")],
        "branch",
        [],
        [tensor("out", dims=None)],
    )
    nodes = [
        helper.make_node("If", ["flag"], ["y"], then_branch=hidden, else_branch=hidden),
    ]
    flag = numpy_helper.from_array(np.array(True), "flag")

    assert "custom operators" in refusal(tmp_path, model_of(nodes, weights=[flag]))


def test_a_local_function_of_standard_operators_passes(tmp_path: Path) -> None:
    model = model_of([helper.make_node("Mine", ["x"], ["y"], domain="local")])
    model.opset_import.append(helper.make_opsetid("local", 1))
    inside = helper.make_node("Relu", ["a"], ["b"])
    opsets = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("local", "Mine", ["a"], ["b"], [inside], opsets))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())

    inspect_onnx(tmp_path / "model.onnx", signature(), listed={"model.onnx"})


@pytest.mark.parametrize("location", ["weights.bin", "../weights.bin", "/etc/hostname"])
def test_external_data_that_is_not_listed_is_refused(tmp_path: Path, location: str) -> None:
    assert "external data" in refusal(tmp_path, with_external_weight(location))


def test_external_data_hidden_in_a_node_is_refused(tmp_path: Path) -> None:
    value = with_external_weight("../weights.bin").graph.initializer[0]
    nodes = [
        helper.make_node("Constant", [], ["w"], value=value),
        helper.make_node("Add", ["x", "w"], ["y"]),
    ]

    assert "external data" in refusal(tmp_path, model_of(nodes))


def test_external_data_that_is_listed_passes(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(np.ones(3, np.float32).tobytes())
    model = with_external_weight("weights.bin")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())

    inspect_onnx(tmp_path / "model.onnx", signature(), listed={"model.onnx", "weights.bin"})


def with_external_weight(location: str) -> onnx.ModelProto:
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    return model_of([helper.make_node("Add", ["x", "w"], ["y"])], weights=[weight])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "z"}, "the model takes ['x'], the signature ['z']"),
        ({"datatype": "FP64"}, "x is FP32 in the model, FP64 declared"),
        ({"shape": (-1, 4)}, "x is [-1, 3] in the model, [-1, 4] declared"),
        ({"shape": (-1, 3, 1)}, "x is [-1, 3] in the model, [-1, 3, 1] declared"),
    ],
)
def test_an_input_that_differs_from_the_signature_is_refused(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    assert problem in refusal(tmp_path, model_of([RELU]), signature(**changes))


def test_a_fixed_batch_size_is_refused(tmp_path: Path) -> None:
    fixed = model_of([RELU], inputs=[tensor("x", dims=[1, 3])], outputs=[tensor("y", dims=[1, 3])])

    assert "x is [1, 3] in the model, [-1, 3] declared" in refusal(tmp_path, fixed)


def test_an_output_that_the_model_does_not_give_is_refused(tmp_path: Path) -> None:
    other = model_of(
        [helper.make_node("Relu", ["x"], ["other"])], outputs=[tensor("other", dims=["n", 3])]
    )

    assert "the model gives ['other'], not ['y']" in refusal(tmp_path, other)


def test_an_output_that_is_not_a_tensor_is_refused(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    nodes = [helper.make_node("SequenceConstruct", ["x"], ["y"])]

    assert "y is not a tensor" in refusal(tmp_path, model_of(nodes, outputs=[sequence]))


def test_a_packed_model_runs_with_external_data_from_its_own_bundle(
    tmp_path: Path, repack: Callable[..., Any]
) -> None:
    model = onnx.load_from_string(mlp_onnx(np.random.default_rng(0)))
    onnx.save(
        model,
        tmp_path / "source.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    bundle = repack(tmp_path / "source.onnx", tmp_path / "external")

    assert "weights.bin" in bundle.digests
    rows = np.zeros((2, 30), np.float32)
    assert open_runtime(bundle).predict({"features": rows})["probabilities"].shape == (2, 2)
