"""torch.export programs on torch, and what AOTInductor made of them; on one thread."""

import io
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle import Bundle
from models.errors import RuntimeFailedError
from models.manifest import DTYPES, Manifest
from models.runtime.cuda import device_error
from models.runtime.device import torch_device, torch_error
from models.runtime.input import checked
from models.runtime.output import OutputContract
from models.runtime.protocol import Tensors

Program = Callable[..., Any]
PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16}
BF16 = DTYPES["BF16"]

# What torch and the program's own input checks raise; their text may quote the rows.
FAILURES = (RuntimeError, ValueError, TypeError, AssertionError, IndexError, MemoryError)


class TorchRuntime:
    """A program that takes the signature's inputs in order."""

    def __init__(self, program: Program, manifest: Manifest, *, device: torch.device) -> None:
        self._program = program
        self._model = manifest.name
        self._device = device
        self._is_on_gpu = device.type != "cpu"
        self._precision = _precision(manifest, device)
        self._inputs = manifest.signature.inputs
        self._contract = OutputContract(manifest.name, manifest.signature)

    @classmethod
    def load(cls, bundle: Bundle) -> Self:
        """Rebuild the program.  It is code: only a bundle that was trusted may come here.

        Raises:
            RuntimeFailedError: torch cannot load it, or not on the device asked for.
            OutOfMemoryError: it does not fit into the device.
        """
        manifest = bundle.manifest
        specs = (*manifest.signature.inputs, *manifest.signature.outputs)
        if any(spec.datatype == "BYTES" for spec in specs):
            raise RuntimeFailedError(manifest.name, "torch takes no BYTES")
        device = torch_device(manifest)
        torch.set_num_threads(1)  # one core per model: replicas are what scales
        content = io.BytesIO(bundle.read(str(manifest.runtime.file)))
        try:
            if manifest.runtime.compiled:
                program = _load_package(content, manifest.name, device)
            else:
                program = torch.export.load(content).module().to(device)
        except (*FAILURES, KeyError, OSError) as error:
            problem = f"torch cannot load it ({type(error).__name__})"
            told = device_error(manifest.name, error, is_on_gpu=device.type != "cpu")
            raise (told or RuntimeFailedError(manifest.name, problem)) from error
        return cls(program, manifest, device=device)

    def predict(
        self, inputs: Tensors, *, deadline_ns: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Answer ``n`` rows."""
        rows = len(inputs[self._inputs[0].name])
        try:
            # Checked here, because compiled programs read whatever memory they are given.
            arrays = [checked(inputs[spec.name], spec) for spec in self._inputs]
            with torch.inference_mode(), self._cast():
                given = self._program(*map(self._tensor, arrays))
            outputs = given if isinstance(given, (tuple, list)) else (given,)
            # Inside the block: what a kernel did wrong shows when its result is fetched.
            arrays = [_array(output) for output in outputs]
        except FAILURES as error:
            raise torch_error(self._model, error, is_on_gpu=self._is_on_gpu) from error
        return self._contract.finish(arrays, rows)

    def _cast(self) -> AbstractContextManager[Any]:
        if self._precision is None:
            return nullcontext()
        return torch.autocast(self._device.type, self._precision)

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        # torch has no read-only tensors and warns; arrays that view a request body are read-only.
        writable = array if array.flags.writeable else array.copy()
        is_bf16 = writable.dtype == BF16  # which torch does not take from numpy
        tensor = torch.from_numpy(writable.view(np.uint16) if is_bf16 else writable)
        tensor = tensor.view(torch.bfloat16) if is_bf16 else tensor
        if self._is_on_gpu:  # from pinned memory the device fetches by itself
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor


def _array(output: torch.Tensor) -> NDArray[Any]:
    on_host = output.cpu()
    if on_host.dtype == torch.bfloat16:
        return np.asarray(on_host.contiguous().view(torch.uint16).numpy().view(BF16))
    return np.asarray(on_host.numpy())


def _load_package(content: io.BytesIO, model: str, device: torch.device) -> Program:
    """Load an AOTInductor package: machine code, compiled for one kind of device.

    Raises:
        RuntimeFailedError: it is for another kind.
    """
    package = torch._inductor.aoti_load_package(content, run_single_threaded=True)
    compiled_for = package.get_metadata()["AOTI_DEVICE_KEY"]
    if compiled_for != device.type:
        problem = f"it is compiled for {compiled_for}, and its device is {device.type}"
        raise RuntimeFailedError(model, problem)
    return package


def _precision(manifest: Manifest, device: torch.device) -> torch.dtype | None:
    """FP16 is a GPU's; a CPU computes BF16 as quickly, and it cannot overflow."""
    wanted = manifest.runtime.autocast
    if wanted is None:
        return None
    return PRECISIONS[wanted] if device.type == "cuda" else torch.bfloat16
