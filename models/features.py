"""From named tensors to the rows that guards judge."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.columns import column_names
from guards.verdict import Rows
from models.manifest import DTYPES, Signature
from models.runtime.protocol import Tensors

FALSE_OR_TRUE = 0.5  # what lies above it is nearer to true


def feature_rows(inputs: Tensors, signature: Signature) -> Rows:
    """Lay all inputs of numbers side by side, each flattened per row: shape (n, d), float32.

    Guards judge numbers: BYTES are left out, and d is 0 where a model takes nothing else.
    A single input that already is (n, d) float32 and contiguous comes back as
    the same array, not a copy.
    """
    flat = [_flat(inputs[spec.name], spec.row_width) for spec in signature.numeric_inputs]
    if not flat:
        return np.empty((len(next(iter(inputs.values()))), 0), np.float32)
    if len(flat) == 1:
        return np.ascontiguousarray(flat[0], dtype=np.float32)
    return np.concatenate(flat, axis=1, dtype=np.float32, casting="unsafe")


def text_tensors(inputs: Tensors, signature: Signature) -> dict[str, NDArray[Any]]:
    """Pick the inputs of BYTES, by name; each has one row per row of `feature_rows`."""
    return {spec.name: inputs[spec.name] for spec in signature.text_inputs}


def feature_tensors(rows: Rows, like: Tensors, signature: Signature) -> dict[str, NDArray[Any]]:
    """Turn rows (n, d) back into the tensors they came from; BYTES are taken from ``like``.

    Whole numbers are rounded and kept within what their datatype holds.
    """
    tensors = dict(like)
    columns = tensor_columns(signature)
    for spec, part in zip(signature.numeric_inputs, columns, strict=True):
        dtype = DTYPES[spec.datatype]
        values: NDArray[Any] = rows[:, part].astype(np.float64)
        if dtype.kind in "iu":
            values = np.clip(np.rint(values), np.iinfo(dtype).min, np.iinfo(dtype).max)
        elif dtype.kind == "b":
            values = values > FALSE_OR_TRUE
        tensors[spec.name] = values.astype(dtype).reshape(len(rows), *spec.row_shape)
    return tensors


def feature_names(signature: Signature, names: Sequence[str] = ()) -> tuple[str, ...]:
    """Name each column of `feature_rows`: ``names`` if given, else after the tensors.

    Raises:
        ValueError: names are given, but not one per column.
    """
    if names:
        if len(names) != signature.feature_width:
            wanted = signature.feature_width
            raise ValueError(f"{len(names)} feature names given for {wanted} features")
        return tuple(names)
    numeric = signature.numeric_inputs
    return tuple(name for spec in numeric for name in column_names((spec.name,), spec.row_width))


def tensor_columns(signature: Signature) -> tuple[slice, ...]:
    """Find the columns of `feature_rows` that each input of numbers becomes."""
    ends = list(accumulate(spec.row_width for spec in signature.numeric_inputs))
    return tuple(slice(start, end) for start, end in pairwise([0, *ends]))


def _flat(tensor: NDArray[Any], width: int) -> NDArray[Any]:
    return tensor if tensor.ndim == 2 else tensor.reshape(len(tensor), width)
