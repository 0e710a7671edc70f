"""Repairs reach the tensors they are meant for, and nothing else."""

import numpy as np

from guards.verdict import Repair
from models.bytes_tensor import as_elements
from models.imputation import impute
from models.manifest import Signature, TensorSpec

SIGNATURE = Signature(
    inputs=(
        TensorSpec(name="a", datatype="FP64", shape=(-1, 2)),
        TensorSpec(name="s", datatype="BYTES", shape=(-1, 2)),
        TensorSpec(name="b", datatype="INT64", shape=(-1,)),
    ),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 1)),),
)


def test_a_repair_finds_its_tensor_and_its_place() -> None:
    inputs = {
        "a": np.array([[1.0, 2.0], [3.0, 4.0]]),
        "s": as_elements([b"p", b"q", b"r", b"t"], (2, 2)),
        "b": np.array([2**60 + 1, 7]),
    }
    before = {name: array.copy() for name, array in inputs.items()}

    repaired = impute(
        inputs, [Repair(1, 1, 9.5), Repair(1, 2, 8.0), Repair(0, 1, "z", "s")], SIGNATURE
    )

    assert repaired["a"].tolist() == [[1.0, 2.0], [3.0, 9.5]]
    assert repaired["s"].tolist() == [[b"p", b"z"], [b"r", b"t"]]
    assert repaired["b"].tolist() == [2**60 + 1, 8]
    for name, array in inputs.items():
        assert array.tolist() == before[name].tolist()


def test_a_tensor_with_nothing_to_repair_is_not_copied() -> None:
    inputs = {"a": np.ones((1, 2)), "s": as_elements([b"p", b"q"], (1, 2)), "b": np.ones(1, int)}

    assert impute(inputs, [Repair(0, 0, 2.0)], SIGNATURE)["b"] is inputs["b"]
