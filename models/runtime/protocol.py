"""What the serving path asks of a runtime."""

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]  # every array has the same first dimension: its rows


class Runtime(Protocol):
    """A loaded model.  Safe to call from one thread at a time; keeps no state between calls."""

    def predict(
        self, inputs: Tensors, *, deadline_ns: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Answer ``n`` rows: each input (n, *row_shape), each output (n, *row_shape).

        Outputs are finished, contiguous arrays of the signature's datatypes and in its order.

        Args:
            inputs: Not modified.
            deadline_ns: On `time.perf_counter_ns`; a model that works in steps stops there.

        Raises:
            OutOfTimeError: the deadline came between two steps.
            RuntimeFailedError: the framework refused or failed on these rows.
        """
        ...
