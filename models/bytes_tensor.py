"""BYTES tensors as one run of bytes: in front of each element, its length in four bytes.

In memory such a tensor is an object array of ``bytes``.

Source: Triton's binary tensor data extension, ``extension_binary_data.md``.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LENGTH_BYTES = 4


def join_elements(elements: NDArray[Any]) -> bytes:
    """Write the elements, row-major, each after its length (unsigned, little-endian)."""
    parts: list[bytes] = []
    for element in elements.reshape(-1):
        parts += (len(element).to_bytes(LENGTH_BYTES, "little"), element)
    return b"".join(parts)


def cut_elements(part: bytes | memoryview, shape: Sequence[int]) -> NDArray[Any]:
    """Read the elements of a tensor of ``shape``.

    Nothing is allocated for elements that ``part`` is too short to hold.

    Raises:
        ValueError: a length reaches past the end, or there are more or fewer elements.
    """
    wanted = math.prod(shape)
    if wanted * LENGTH_BYTES > len(part):
        raise ValueError(f"{len(part)} bytes cannot hold {wanted} elements")
    content = bytes(part)
    elements: list[bytes] = []
    start = 0
    for _ in range(wanted):
        begin = start + LENGTH_BYTES
        start = begin + int.from_bytes(content[start:begin], "little")
        elements.append(content[begin:start])
        if begin > len(content) or start > len(content):
            raise ValueError("an element reaches past the end")
    if start != len(content):
        raise ValueError(f"{len(content) - start} bytes are left over")
    return as_elements(elements, shape)


def as_elements(elements: Sequence[bytes], shape: Sequence[int]) -> NDArray[Any]:
    """Make an array of ``bytes`` objects; numpy's own string type would cut trailing NULs off."""
    array = np.empty(len(elements), dtype=np.object_)
    array[:] = elements
    return array.reshape(shape)
