"""Every datatype of the protocol goes through every runtime that knows it, unchanged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from models.bundle import Bundle, load_golden, load_reference
from models.errors import BundleError, NotTextError, RuntimeFailedError
from models.manifest import DTYPES, Manifest, RuntimeSpec, Signature, TensorSpec
from models.pack import pack
from models.parity import check_golden
from models.runtime.catalog import open_runtime
from models.signing import SigningKey
from tests.conformance.identity import ELEMENTS, WIDTH, sample

ALL_ELEMENTS = {**ELEMENTS, "BF16": TensorProto.BFLOAT16}


class Echo(torch.nn.Module):
    """Answers what it is given, out of memory of its own."""

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(value.clone() for value in inputs)


def write_onnx(path: Path, datatypes: tuple[str, ...]) -> None:
    def values(side: str) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(side + d, ALL_ELEMENTS[d], ["n", WIDTH])
            for d in datatypes
        ]

    nodes = [helper.make_node("Identity", ["in" + d], ["out" + d]) for d in datatypes]
    graph = helper.make_graph(nodes, "echo", values("in"), values("out"))
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


def write_torch(path: Path, datatypes: tuple[str, ...]) -> None:
    dtypes = {"BOOL": torch.bool, "FP16": torch.float16, "FP32": torch.float32,
              "FP64": torch.float64, "BF16": torch.bfloat16}  # fmt: skip
    dtypes["BYTES"] = torch.float32  # torch has no strings; this is never loaded
    examples = tuple(
        torch.zeros(2, WIDTH, dtype=dtypes.get(d) or getattr(torch, d.lower())) for d in datatypes
    )
    rows = torch.export.Dim("rows")
    program = torch.export.export(
        Echo(), examples, dynamic_shapes=({"inputs": tuple({0: rows} for _ in datatypes)})
    )
    torch.export.save(program, path)


WRITERS: dict[str, Callable[[Path, tuple[str, ...]], None]] = {
    "onnx": write_onnx,
    "torch": write_torch,
}
SUFFIXES = {"onnx": "onnx", "torch": "pt2"}
CASES = [
    (kind, datatype)
    for kind in WRITERS
    for datatype in DTYPES
    if not (kind == "torch" and datatype == "BYTES")
]


def rows_of(datatypes: tuple[str, ...], rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"in" + d: sample(d, rows, rng) for d in datatypes}


def echo(kind: str, datatypes: tuple[str, ...], tmp_path: Path) -> Bundle:
    artifact = tmp_path / f"source.{SUFFIXES[kind]}"
    WRITERS[kind](artifact, datatypes)

    def specs(side: str) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec.model_validate({"name": side + d, "datatype": d, "shape": (-1, WIDTH)})
            for d in datatypes
        )

    rows = rows_of(datatypes, 8)
    return pack(
        Manifest(
            name="echo",
            version="1",
            runtime=RuntimeSpec.model_validate(
                {"kind": kind, "file": f"model.{SUFFIXES[kind]}", "device": "cpu"}
            ),
            signature=Signature(inputs=specs("in"), outputs=specs("out")),
        ),
        artifact,
        reference=rows,
        held_out=rows,
        out=tmp_path / "echo",
        key=SigningKey.create(),
    )


@pytest.mark.parametrize(("kind", "datatype"), CASES)
def test_every_datatype_comes_back_as_it_went_in(kind: str, datatype: str, tmp_path: Path) -> None:
    runtime = open_runtime(echo(kind, (datatype,), tmp_path))
    rows = rows_of((datatype,), 5, seed=1)
    given = rows["in" + datatype]
    if datatype != "BYTES":
        given.flags.writeable = False
    before = given.copy()

    answer = runtime.predict(rows)["out" + datatype]

    assert answer.dtype == DTYPES[datatype]
    assert answer.flags.c_contiguous
    np.testing.assert_array_equal(answer, before)
    np.testing.assert_array_equal(given, before)


def test_different_datatypes_keep_their_names(tmp_path: Path) -> None:
    datatypes = ("INT32", "BF16", "FP16", "UINT8")
    runtime = open_runtime(echo("onnx", datatypes, tmp_path))
    rows = rows_of(datatypes, 3)

    for datatype, (name, array) in zip(datatypes, runtime.predict(rows).items(), strict=True):
        assert name == "out" + datatype
        np.testing.assert_array_equal(array, rows["in" + datatype])


@pytest.mark.parametrize("element", [b"", b"a\0b\0", "é".encode(), b"x" * 100_000])
def test_any_text_comes_back(tmp_path: Path, element: bytes) -> None:
    runtime = open_runtime(echo("onnx", ("BYTES",), tmp_path))
    rows = np.full((2, WIDTH), element, object)

    assert runtime.predict({"inBYTES": rows})["outBYTES"].tolist() == rows.tolist()


def test_bytes_that_are_no_text_never_reach_the_model(tmp_path: Path) -> None:
    runtime = open_runtime(echo("onnx", ("BYTES",), tmp_path))
    rows = rows_of(("BYTES",), 4)
    rows["inBYTES"][2, 1] = b"\xff"

    with pytest.raises(NotTextError) as caught:
        runtime.predict(rows)
    assert caught.value.args == ("inBYTES", 2)


def test_bytes_in_a_bundle_reproduce_and_a_change_of_them_is_seen(tmp_path: Path) -> None:
    bundle = echo("onnx", ("BYTES", "FP32"), tmp_path)
    runtime = open_runtime(bundle)
    check_golden(bundle, runtime)
    recorded = load_reference(bundle)

    class Shouting:
        def predict(self, inputs: Any, *, deadline_ns: int | None = None) -> Any:
            outputs = runtime.predict(inputs)
            outputs["outBYTES"][0, 0] += b"!"
            return outputs

    np.testing.assert_array_equal(recorded.inputs["inBYTES"], recorded.outputs["outBYTES"])
    assert load_golden(bundle).features.shape[1] == WIDTH
    with pytest.raises(BundleError, match=r"output outBYTES differ in 1 of \d+ elements"):
        check_golden(bundle, Shouting())


@pytest.mark.parametrize(
    ("kind", "datatypes", "sentence"),
    [("onnx", ("BYTES", "BF16"), "takes no BYTES beside BF16"), ("torch", ("BYTES",), "no BYTES")],
)
def test_what_a_framework_cannot_take_is_refused_when_loading(
    kind: str, datatypes: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeFailedError, match=sentence):
        echo(kind, datatypes, tmp_path)
