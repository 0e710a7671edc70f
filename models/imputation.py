"""Put the contract's defaults in the place of values that broke it, tensor by tensor."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.verdict import Repair
from models.features import tensor_columns
from models.manifest import Signature
from models.runtime.protocol import Tensors


def impute(
    inputs: Tensors, repairs: Sequence[Repair], signature: Signature
) -> dict[str, NDArray[Any]]:
    """Copy the tensors that have something to repair, and repair the copies.

    Tensors are repaired, not the float32 rows that guards judge: what nobody repaired stays the
    very number that came.
    """
    tensors = dict(inputs)
    flat: dict[str, NDArray[Any]] = {}
    for repair in repairs:
        name, column = (
            (repair.tensor, repair.column) if repair.tensor else _place(repair.column, signature)
        )
        if name not in flat:
            tensors[name] = np.array(inputs[name], order="C", copy=True)
            flat[name] = tensors[name].reshape(len(tensors[name]), -1)  # a view of the copy
        value = repair.value
        flat[name][repair.row, column] = value.encode() if isinstance(value, str) else value
    return tensors


def _place(column: int, signature: Signature) -> tuple[str, int]:
    """Find the tensor that a column of the rows comes from, and where in its row."""
    for spec, columns in zip(signature.numeric_inputs, tensor_columns(signature), strict=True):
        if column < columns.stop:
            return spec.name, column - columns.start
    raise IndexError(column)
