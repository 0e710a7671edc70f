"""An option of a runtime is refused where it makes no sense."""

from typing import Any

import pytest
from pydantic import ValidationError

from models.manifest import Manifest, RuntimeSpec

TENSOR = {"name": "x", "shape": (-1, 2)}


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "torch", "file": "m.pt2", "gpu_memory_bytes": 1 << 30},
        {"kind": "onnx", "file": "m.onnx", "device": "cpu", "gpu_memory_bytes": 1 << 30},
        {"kind": "onnx", "file": "m.onnx", "device": "cpu", "cuda_graph_rows": 8},
        {"kind": "torch", "file": "m.pt2", "cuda_graph_rows": 8},
        {"kind": "onnx", "file": "m.onnx", "autocast": "fp16"},
        {"kind": "torch", "file": "m.pt2", "autocast": "fp16", "compiled": True},
        {"kind": "onnx", "file": "m.onnx", "compiled": True},
        {"kind": "constant", "outputs": {"y": [0.0]}, "autocast": "bf16"},
    ],
    ids=str,
)
def test_an_option_of_another_runtime_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"runtime\.\w+: only"):
        RuntimeSpec(**fields)


@pytest.mark.parametrize("datatype", ["BYTES", "BF16"])
def test_graphs_are_refused_for_tensors_that_have_no_place_on_the_device(datatype: str) -> None:
    with pytest.raises(ValidationError, match="not with BYTES or BF16"):
        Manifest.model_validate(
            {
                "name": "m",
                "version": "1",
                "runtime": {"kind": "onnx", "file": "m.onnx", "cuda_graph_rows": 8},
                "signature": {
                    "inputs": [TENSOR | {"datatype": datatype}],
                    "outputs": [TENSOR | {"datatype": "FP32"}],
                },
            }
        )


def test_options_that_fit_are_taken() -> None:
    onnx = RuntimeSpec(kind="onnx", file="m.onnx", gpu_memory_bytes=1 << 30, cuda_graph_rows=64)
    torch = RuntimeSpec(kind="torch", file="m.pt2", autocast="bf16")

    assert (onnx.cuda_graph_rows, torch.autocast) == (64, "bf16")
