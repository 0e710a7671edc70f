"""Where torch runs a model."""

import torch

from models.errors import RuntimeFailedError
from models.manifest import Manifest


def torch_device(manifest: Manifest) -> torch.device:
    """Choose the device that the manifest asks for; ``auto`` is CUDA where there is any.

    Raises:
        RuntimeFailedError: it asks for CUDA and there is none.
    """
    wanted = manifest.runtime.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise RuntimeFailedError(manifest.name, "it asks for CUDA and there is no CUDA device")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
