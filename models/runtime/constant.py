"""The same answer for every row: the last rung of a ladder, or a baseline."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.bytes_tensor import to_elements
from models.manifest import DTYPES, ConstantRow, Signature
from models.runtime.protocol import Tensors


class ConstantRuntime:
    """Answers every row with the same outputs."""

    def __init__(self, outputs: Mapping[str, ConstantRow], signature: Signature) -> None:
        self._rows = constant_rows(outputs, signature)

    @classmethod
    def load(cls, bundle: Bundle) -> Self:
        """Take the outputs from the manifest; there is no artifact."""
        manifest = bundle.manifest
        return cls(manifest.runtime.outputs or {}, manifest.signature)

    def predict(
        self, inputs: Tensors, *, deadline_ns: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Repeat the outputs once per row."""
        rows = len(next(iter(inputs.values())))
        return {name: np.repeat(row, rows, axis=0) for name, row in self._rows.items()}


def constant_rows(
    outputs: Mapping[str, ConstantRow], signature: Signature
) -> dict[str, NDArray[Any]]:
    """Turn the outputs that a manifest writes out into one row each, shape (1, *row_shape)."""
    rows = {}
    for spec in signature.outputs:
        values = np.array(outputs[spec.name], DTYPES[spec.datatype])
        flat = to_elements(values) if spec.datatype == "BYTES" else values
        rows[spec.name] = flat.reshape(1, *spec.row_shape)
    return rows
