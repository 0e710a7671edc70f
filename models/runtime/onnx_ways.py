"""Ways into an onnxruntime session and out again.

`Plain` is the quickest on a CPU.  `Bound` spares the copy of the outputs, and knows BF16.
`Captured` replays CUDA graphs.  All take and give arrays in the memory of the host.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.manifest import DTYPES, Signature, TensorSpec
from models.runtime.input import checked
from models.runtime.protocol import Tensors

Arrays = list[NDArray[Any]]
BFLOAT16 = 16  # TensorProto's number; numpy's own types do not have it
GRAPH_OF = "gpu_graph_id"  # run option; each number is a graph of its own
NO_GRAPH = "-1"  # runs without one


class Way(Protocol):
    """From the inputs to the outputs, in the order of the signature.

    Raises what onnxruntime raises, and ValueError for an input of another datatype.
    """

    def __call__(self, inputs: Tensors) -> Arrays:
        """Answer ``n`` rows; ``inputs`` are not modified and not kept."""
        ...


class Plain:
    """`run` on arrays: an MLP of 30-64-64-2 takes 6 us, 9 us `Bound`, 41 us through OrtValues."""

    def __init__(self, session: onnxruntime.InferenceSession, signature: Signature) -> None:
        self._session = session
        self._names = [spec.name for spec in signature.outputs]

    def __call__(self, inputs: Tensors) -> Arrays:
        """Answer ``n`` rows."""
        arrays: Arrays = self._session.run(self._names, inputs)
        return arrays


class Bound:
    """Reads the inputs where they lie, and writes the outputs into the arrays it hands out."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        signature: Signature,
        *,
        options: onnxruntime.RunOptions | None = None,
    ) -> None:
        self._session = session
        self._signature = signature
        self._options = options

    def __call__(self, inputs: Tensors) -> Arrays:
        """Answer ``n`` rows."""
        binding = self._session.io_binding()
        given = [checked(inputs[spec.name], spec) for spec in self._signature.inputs]
        for spec, array in zip(self._signature.inputs, given, strict=True):
            binding.bind_input(*_place(spec, array))
        rows = len(given[0])
        outputs = [
            np.empty((rows, *spec.row_shape), DTYPES[spec.datatype])
            for spec in self._signature.outputs
        ]
        for spec, array in zip(self._signature.outputs, outputs, strict=True):
            binding.bind_output(*_place(spec, array))
        self._session.run_with_iobinding(binding, self._options)
        binding.synchronize_outputs()
        return outputs


class Captured:
    """One CUDA graph per power of two of rows: the kernels of a batch launched as one.

    A graph reads and writes fixed places on the device, so a batch is copied there, filled up
    with its last row, and cut again.  Larger batches run without a graph.  Everything but the
    graph itself works on the CPU too.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        signature: Signature,
        *,
        most_rows: int,
        device: str,
    ) -> None:
        self._session = session
        self._signature = signature
        self._most_rows = most_rows
        self._device = device
        self._slots: dict[int, _Slot] = {}  # by rows
        self._larger = Bound(session, signature, options=_run_options(NO_GRAPH))

    def __call__(self, inputs: Tensors) -> Arrays:
        """Answer ``n`` rows."""
        given = [checked(inputs[spec.name], spec) for spec in self._signature.inputs]
        rows = len(given[0])
        if rows > self._most_rows:
            return self._larger(inputs)
        size = min(1 << (rows - 1).bit_length(), self._most_rows)
        if size not in self._slots:
            self._slots[size] = _Slot(self._session, self._signature, size, device=self._device)
        return self._slots[size].run(given)


class _Slot:
    """The places of one graph."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        signature: Signature,
        rows: int,
        *,
        device: str,
    ) -> None:
        def place(spec: TensorSpec) -> onnxruntime.OrtValue:
            return onnxruntime.OrtValue.ortvalue_from_shape_and_type(
                (rows, *spec.row_shape), DTYPES[spec.datatype], device, 0
            )

        self._session = session
        self._rows = rows
        self._inputs = [place(spec) for spec in signature.inputs]
        self._outputs = [place(spec) for spec in signature.outputs]
        self._options = _run_options(str(rows))
        self._binding = session.io_binding()
        for spec, value in zip(signature.inputs, self._inputs, strict=True):
            self._binding.bind_ortvalue_input(spec.name, value)
        for spec, value in zip(signature.outputs, self._outputs, strict=True):
            self._binding.bind_ortvalue_output(spec.name, value)

    def run(self, given: Sequence[NDArray[Any]]) -> Arrays:
        """Answer at most as many rows as there are places."""
        rows = len(given[0])
        for value, array in zip(self._inputs, given, strict=True):
            filling = np.repeat(array[-1:], self._rows - rows, axis=0)
            value.update_inplace(np.concatenate([array, filling]) if len(filling) else array)
        self._session.run_with_iobinding(self._binding, self._options)
        self._binding.synchronize_outputs()
        return [value.numpy()[:rows].copy() for value in self._outputs]


def _run_options(graph: str) -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry(GRAPH_OF, graph)
    return options


def _place(spec: TensorSpec, array: NDArray[Any]) -> tuple[Any, ...]:
    element = BFLOAT16 if spec.datatype == "BF16" else array.dtype.type
    return spec.name, "cpu", 0, element, array.shape, array.ctypes.data
