"""What errors of the device mean.  No GPU is needed: the texts are those of CUDA's own library."""

import numpy as np
import pytest
import torch

from models.errors import OutOfMemoryError, StickyDeviceError
from models.runtime.cuda import STICKY, device_error

TORCH_TAIL = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the "
    "stacktrace below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
)


def by_torch(text: str) -> Exception:
    return torch.AcceleratorError(f"CUDA error: {text}{TORCH_TAIL}")


def by_onnxruntime(text: str) -> Exception:
    return RuntimeError(
        "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Conv node. "
        f"CUDA failure 700: {text} ; GPU=0 ; hostname=a ; file=cuda_call.cc ; line=129 ; "
    )


@pytest.mark.parametrize("text", STICKY.values())
@pytest.mark.parametrize("raised", [by_torch, by_onnxruntime])
def test_an_error_that_every_later_call_repeats_is_told_by_its_text(raised, text: str) -> None:
    told = device_error("m", raised(text), is_on_gpu=True)

    assert isinstance(told, StickyDeviceError)
    assert told.problem == text


def test_it_is_told_by_its_code_where_there_is_one() -> None:
    error = torch.AcceleratorError("something new")
    error.error_code = 719  # type: ignore[attr-defined]

    assert str(device_error("m", error, is_on_gpu=True)) == (
        "model m: the device is lost to this process: unspecified launch failure"
    )


FULL = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ..."),
    RuntimeError("CUDA failure 2: out of memory ; GPU=0 ; hostname=a"),
    RuntimeError("bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 8"),
    RuntimeError("Available memory of 0 is smaller than requested bytes of 256"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
)


@pytest.mark.parametrize("error", FULL, ids=str)
def test_a_full_memory_is_one_error_whoever_says_it(error: Exception) -> None:
    assert isinstance(device_error("m", error, is_on_gpu=True), OutOfMemoryError)


def test_a_host_without_memory_says_so_too() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 46)

    assert isinstance(device_error("m", caught.value, is_on_gpu=False), OutOfMemoryError)


@pytest.mark.parametrize(
    "error",
    [
        by_torch("invalid argument"),  # the device goes on after these
        by_torch("no kernel image is available for execution on the device"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x29 and 30x2)"),
        ValueError("'unspecified launch failure' is no number"),  # a row that quotes one
    ],
    ids=str,
)
def test_other_errors_are_about_something_else(error: Exception) -> None:
    assert device_error("m", error, is_on_gpu=True) is None


def test_no_text_is_a_sticky_error_where_there_is_no_gpu() -> None:
    assert device_error("m", by_torch(STICKY[700]), is_on_gpu=False) is None


def test_the_text_of_the_framework_is_not_kept() -> None:
    error = by_torch(f"{STICKY[700]} at {np.pi}")

    assert "3.14" not in str(device_error("m", error, is_on_gpu=True))
