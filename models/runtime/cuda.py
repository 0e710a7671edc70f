"""What the CUDA driver says: is there a GPU that works, and what does an error mean?"""

import ctypes
import re
import sys
from typing import Final

from models.errors import ModelError, OutOfMemoryError, StickyDeviceError

DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
SUCCESS = 0

# Errors after which "the process must be terminated and relaunched" (driver_types.h of CUDA 13),
# and those of broken hardware, by code: what `cudaGetErrorString` says.
STICKY: Final = {
    214: "uncorrectable ECC error encountered",
    220: "uncorrectable NVLink error detected during the execution",
    226: "Invalid access of peer GPU memory over nvlink or a hardware error",
    700: "an illegal memory access was encountered",
    702: "the launch timed out and was terminated",
    709: "context is destroyed",
    710: "device-side assert triggered",
    714: "hardware stack error",
    715: "an illegal instruction was encountered",
    716: "misaligned address",
    717: "operation not supported on global/shared address space",
    718: "invalid program counter",
    719: "unspecified launch failure",
    721: "tensor memory not completely freed",
    810: "MPS client has been terminated",
    911: "an async error has occured in external entity outside of CUDA",
}
# torch: "CUDA error: an illegal memory access was encountered\n...";
# onnxruntime: "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; ...".
_STICKY = re.compile(rf"CUDA (?:error|failure \d+): ({'|'.join(map(re.escape, STICKY.values()))})")

_FULL: Final = (
    "out of memory",  # the driver's, and torch's
    "Failed to allocate memory for requested buffer",  # onnxruntime's arena
    "Available memory of",  # the same, at its limit
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "bad allocation",
    "std::bad_alloc",
    "DefaultCPUAllocator: can't allocate memory",
)


def has_cuda_device() -> bool:
    """Whether the CUDA driver starts and sees at least one device."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return False
    count = ctypes.c_int(0)
    started = driver.cuInit(0) == SUCCESS
    return started and driver.cuDeviceGetCount(ctypes.byref(count)) == SUCCESS and count.value > 0


def device_error(model: str, error: BaseException, *, is_on_gpu: bool) -> ModelError | None:
    """Say what a framework's error means for the device; None if it is about something else.

    Its text is only searched, never kept: it may quote the rows.  Where there is no GPU, no
    text is taken for a sticky error, whatever a row may have brought into it.
    """
    text = str(error)
    sticky = _sticky(error, text) if is_on_gpu else None
    if sticky is not None:
        return StickyDeviceError(model, sticky)
    if isinstance(error, MemoryError) or any(sign in text for sign in _FULL):
        return OutOfMemoryError(model)
    return None


def _sticky(error: BaseException, text: str) -> str | None:
    code = getattr(error, "error_code", None)  # of torch.AcceleratorError
    if code in STICKY:
        return STICKY[code]
    found = _STICKY.search(text)
    return None if found is None else found[1]
