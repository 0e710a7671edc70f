"""What every runtime's answer must look like before anyone else sees it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import RuntimeFailedError
from models.manifest import DTYPES, Signature


class OutputContract:
    """The outputs that a signature promises, prepared for one quick check per call."""

    def __init__(self, model: str, signature: Signature) -> None:
        self._model = model
        self._specs = [
            (spec.name, DTYPES[spec.datatype], spec.row_shape) for spec in signature.outputs
        ]

    def finish(self, arrays: Sequence[NDArray[Any]], rows: int) -> dict[str, NDArray[Any]]:
        """Name the arrays in the signature's order, contiguous and of its datatypes.

        Raises:
            RuntimeFailedError: there are more or fewer arrays, or one has another shape.
        """
        if len(arrays) != len(self._specs):
            problem = f"{len(arrays)} outputs came, {len(self._specs)} declared"
            raise RuntimeFailedError(self._model, problem)
        outputs = {}
        for array, (name, dtype, row_shape) in zip(arrays, self._specs, strict=True):
            if array.shape != (rows, *row_shape):
                problem = f"{name} came as {array.shape}, declared {(rows, *row_shape)}"
                raise RuntimeFailedError(self._model, problem)
            outputs[name] = np.ascontiguousarray(array, dtype)
        return outputs
