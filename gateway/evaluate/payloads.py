"""From a captured tensor back to an array."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.record.decision import Tensor
from models.bytes_tensor import cut_elements
from models.manifest import DTYPES


def array_of(tensor: Tensor) -> NDArray[Any]:
    """Read the bytes of a tensor.

    Raises:
        KeyError: no such datatype.
        ValueError: they do not fill the shape.
    """
    if tensor.datatype == "BYTES":
        return cut_elements(tensor.data, tensor.shape)
    return np.frombuffer(tensor.data, DTYPES[tensor.datatype]).reshape(tensor.shape)
