"""The classification extension: the largest values of an output, named, in place of all of them.

Source: Triton's ``extension_classification.md``: each is a string ``VALUE:INDEX``, largest first.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.errors import BadRequestError
from models.bytes_tensor import as_elements
from models.manifest import TensorSpec

NAMED_MAX = 10_000  # classes of one output: each is formatted by itself, on the event loop


def check_classes(spec: TensorSpec, *, rows: int, classes: int) -> None:
    """Refuse to name more classes than one answer should hold, before the model runs.

    Raises:
        BadRequestError: they are more than `NAMED_MAX`.
    """
    if rows * min(classes, math.prod(spec.row_shape)) > NAMED_MAX:
        problem = f"parameter classification: at most {NAMED_MAX} classes of all rows are named"
        raise BadRequestError(problem, code="bad_parameter")


def top_classes(array: NDArray[Any], classes: int) -> NDArray[Any]:
    """Name the largest values of each row; the first of equals comes first.

    Args:
        array: Shape (n, ...), numbers; a row is flattened.
        classes: How many to name; more than a row has: all of them.

    Returns:
        BYTES, shape (n, min(classes, values per row)).
    """
    rows = array.reshape(len(array), -1)
    values = rows.astype(np.float64)
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), axis=1, kind="stable")[:, :classes]
    is_whole = rows.dtype.kind in "iub"  # as they are: a float64 cannot hold every int64
    picked = np.take_along_axis(rows if is_whole else values, order, axis=1)
    form = "{:d}:{:d}" if is_whole else "{:f}:{:d}"
    pairs = zip(picked.reshape(-1).tolist(), order.reshape(-1).tolist(), strict=True)
    named = [form.format(value, place) for value, place in pairs]
    return as_elements([name.encode() for name in named], order.shape)
