"""Where torch runs a model, and what it means when it cannot."""

from traceback import clear_frames

import torch

from models.errors import ModelError, OutOfMemoryError, RuntimeFailedError
from models.manifest import Manifest
from models.runtime.cuda import device_error


def torch_device(manifest: Manifest) -> torch.device:
    """Choose the device that the manifest asks for; ``auto`` is CUDA where there is any.

    Raises:
        RuntimeFailedError: it asks for CUDA and there is none.
    """
    wanted = manifest.runtime.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise RuntimeFailedError(manifest.name, "it asks for CUDA and there is no CUDA device")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def torch_error(model: str, error: BaseException, *, is_on_gpu: bool) -> ModelError:
    """Say what an error of torch means, and give the memory back that the failed call holds."""
    told = device_error(model, error, is_on_gpu=is_on_gpu)
    if isinstance(told, OutOfMemoryError) and is_on_gpu:  # a lost device takes no call at all
        clear_frames(error.__traceback__)  # their locals are the tensors
        torch.cuda.empty_cache()
    # Its text may quote the rows.
    return told or RuntimeFailedError(model, f"torch refused the rows ({type(error).__name__})")
