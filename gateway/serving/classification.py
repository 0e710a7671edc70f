"""The classification extension: the largest values of an output, named, in place of all of them.

Source: Triton's ``extension_classification.md``: each is a string ``VALUE:INDEX``, largest first.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bytes_tensor import as_elements


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
    is_whole = rows.dtype.kind in "iub"
    named = [
        f"{int(row[i])}:{i}" if is_whole else f"{row[i]:f}:{i}"
        for row, picked in zip(rows, order.tolist(), strict=True)
        for i in picked
    ]
    return as_elements([name.encode() for name in named], order.shape)
