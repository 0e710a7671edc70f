"""Is there a GPU that works?  Asked of the driver, so that no framework has to be loaded."""

import ctypes
import sys

DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
SUCCESS = 0


def has_cuda_device() -> bool:
    """Whether the CUDA driver starts and sees at least one device."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return False
    count = ctypes.c_int(0)
    started = driver.cuInit(0) == SUCCESS
    return started and driver.cuDeviceGetCount(ctypes.byref(count)) == SUCCESS and count.value > 0
