"""Precision, and the errors of a GPU, with hand-written programs in the place of a device's."""

from typing import Any

import numpy as np
import pytest
import torch

from models.bundle import Bundle
from models.errors import OutOfMemoryError, RuntimeFailedError, StickyDeviceError
from models.manifest import Manifest, RuntimeSpec, Signature, TensorSpec
from models.runtime.device import torch_error
from models.runtime.torch import TorchRuntime

CPU = torch.device("cpu")
SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 64)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 64)),),
)
ROWS = {"x": np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)}


def runtime(program: Any, **spec: Any) -> TorchRuntime:
    manifest = Manifest(
        name="m",
        version="1",
        runtime=RuntimeSpec(kind="torch", file="m.pt2", **spec),
        signature=SIGNATURE,
    )
    return TorchRuntime(program, manifest, device=CPU)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_autocast_computes_in_sixteen_bits_and_answers_in_the_datatype_declared(
    precision: str,
) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 64).requires_grad_(False)
    exact = runtime(layer).predict(ROWS)["y"]

    cast = runtime(layer, autocast=precision).predict(ROWS)["y"]

    assert cast.dtype == np.float32
    error = np.abs(cast - exact).max()
    assert 1e-4 < error < 2e-2  # 8 bits of numbers near 1; none at all would be exact


class Full:
    """A program whose activations do not fit: it fails while it holds one of them."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        activation = x * 2
        raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate 2 GiB {activation[0]}")


class Lost:
    """A program on a device that met a failed assertion."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered\nCUDA kernel errors")


@pytest.fixture
def emptied(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Count how often the cache of a GPU that is not there is emptied."""
    calls: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append(True))
    return calls


def failed(program: Any) -> BaseException:
    try:
        program(torch.zeros(2, 64))
    except RuntimeError as error:
        return error
    raise AssertionError("it must fail")


def test_a_full_memory_is_given_back_before_anybody_tries_again(emptied: list[bool]) -> None:
    error = failed(Full())

    told = torch_error("m", error, is_on_gpu=True)

    assert type(told) is OutOfMemoryError
    assert emptied == [True]
    trace = error.__traceback__
    assert trace is not None
    assert trace.tb_next is not None
    assert trace.tb_next.tb_frame.f_locals == {}  # the activation is gone


def test_a_lost_device_is_not_touched_again(emptied: list[bool]) -> None:
    told = torch_error("m", failed(Lost()), is_on_gpu=True)

    assert type(told) is StickyDeviceError
    assert emptied == []


def test_the_runtime_raises_a_full_memory_as_such_and_without_the_rows() -> None:
    with pytest.raises(OutOfMemoryError) as caught:
        runtime(Full()).predict(ROWS)
    assert str(caught.value) == "model m failed: the memory of its device is full"


def test_a_package_for_another_device_is_refused_when_loading(
    monkeypatch: pytest.MonkeyPatch, packed: Bundle
) -> None:
    class Package:
        def get_metadata(self) -> dict[str, str]:
            return {"AOTI_DEVICE_KEY": "cuda"}

    monkeypatch.setattr(torch._inductor, "aoti_load_package", lambda *_, **__: Package())
    spec = RuntimeSpec(kind="torch", file="model.onnx", device="cpu", compiled=True)
    manifest = packed.manifest.model_copy(update={"runtime": spec})
    bundle = Bundle(packed.path, manifest, packed.digest, packed.digests)

    with pytest.raises(RuntimeFailedError, match="it is compiled for cuda, and its device is cpu"):
        TorchRuntime.load(bundle)
