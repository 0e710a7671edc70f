"""BYTES tensors.  In memory such a tensor is an object array of ``bytes``.

On the wire it is one run of bytes: in front of each element, its length in four bytes.
In a file it is an array of numpy's fixed-width strings.  To a model it is text.

Source: Triton's binary tensor data extension, ``extension_binary_data.md``.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import NotTextError

LENGTH_BYTES = 4
END = b"\x01"  # numpy cuts NULs off the end of a fixed-width string; behind this one they stay


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


def to_elements(strings: NDArray[Any]) -> NDArray[Any]:
    """Make a BYTES tensor of numpy's strings, or of `str` and `bytes` objects.

    Raises:
        TypeError: an element is neither.
    """
    elements = [_to_bytes(element) for element in strings.reshape(-1).tolist()]
    return as_elements(elements, strings.shape)


def to_fixed(elements: NDArray[Any]) -> NDArray[np.bytes_]:
    """Turn a BYTES tensor into an array that a file can hold without pickling."""
    ended = [element + END for element in elements.reshape(-1).tolist()]
    return np.array(ended or [END], np.bytes_)[: len(ended)].reshape(elements.shape)


def from_fixed(ended: NDArray[np.bytes_]) -> NDArray[Any]:
    """Undo `to_fixed`."""
    elements = [element.removesuffix(END) for element in ended.reshape(-1).tolist()]
    return as_elements(elements, ended.shape)


def to_text(elements: NDArray[Any], tensor: str) -> NDArray[Any]:
    """Decode a BYTES tensor into `str` objects, which frameworks call strings.

    Raises:
        NotTextError: an element is not UTF-8; ``tensor`` is what the error calls it.
    """
    flat = elements.reshape(-1)
    text = np.empty(len(flat), dtype=np.object_)
    for at, element in enumerate(flat.tolist()):
        try:
            text[at] = element.decode()
        except UnicodeDecodeError:
            # Without its cause: that one quotes the bytes.
            raise NotTextError(tensor, at * len(elements) // len(flat)) from None
    return text.reshape(elements.shape)


def _to_bytes(element: str | bytes) -> bytes:
    if isinstance(element, bytes):
        return element
    if isinstance(element, str):
        return element.encode()
    raise TypeError(f"an element of BYTES is a string, not {type(element).__name__}")
