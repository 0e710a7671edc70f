"""torch.export programs on torch, on one thread."""

import io
from typing import Any, Self

import torch
from numpy.typing import NDArray

from models.bundle import Bundle
from models.errors import RuntimeFailedError
from models.manifest import Manifest
from models.runtime.device import torch_device
from models.runtime.output import OutputContract
from models.runtime.protocol import Tensors


class TorchRuntime:
    """A torch.export program that takes the signature's inputs in order."""

    def __init__(
        self, program: torch.nn.Module, manifest: Manifest, *, device: torch.device
    ) -> None:
        self._program = program
        self._model = manifest.name
        self._device = device
        self._inputs = [spec.name for spec in manifest.signature.inputs]
        self._contract = OutputContract(manifest.name, manifest.signature)

    @classmethod
    def load(cls, bundle: Bundle) -> Self:
        """Rebuild the program.  It is code: only a bundle that was trusted may come here.

        Raises:
            RuntimeFailedError: torch cannot load it, or not on the device asked for.
        """
        manifest = bundle.manifest
        device = torch_device(manifest)
        torch.set_num_threads(1)  # one core per model: replicas are what scales
        content = bundle.read(str(manifest.runtime.file))
        try:
            program = torch.export.load(io.BytesIO(content)).module()
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            problem = f"torch cannot load it ({type(error).__name__})"
            raise RuntimeFailedError(manifest.name, problem) from error
        return cls(program.to(device), manifest, device=device)

    def predict(
        self, inputs: Tensors, *, deadline_ns: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Answer ``n`` rows."""
        rows = len(inputs[self._inputs[0]])
        try:
            with torch.inference_mode():
                given = self._program(*(self._tensor(inputs[name]) for name in self._inputs))
        # What torch and the program's own input checks raise; their text may quote the rows.
        except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
            problem = f"torch refused the rows ({type(error).__name__})"
            raise RuntimeFailedError(self._model, problem) from error
        outputs = given if isinstance(given, (tuple, list)) else (given,)
        return self._contract.finish([output.cpu().numpy() for output in outputs], rows)

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        # torch has no read-only tensors and warns; arrays that view a request body are read-only.
        writable = array if array.flags.writeable else array.copy()
        return torch.from_numpy(writable).to(self._device)
