"""What every input must be before its memory is read as what the signature says."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.manifest import DTYPES, TensorSpec


def checked(array: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
    """Return ``array``, contiguous.

    Raises:
        ValueError: it has another datatype or another shape per row than ``spec``.
    """
    if array.dtype != DTYPES[spec.datatype] or array.shape[1:] != spec.row_shape:
        raise ValueError(f"{spec.name} must be {spec.datatype} of [n, {spec.row_shape}]")
    return np.ascontiguousarray(array)
