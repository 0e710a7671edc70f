"""The content of a tensor as JSON: typed while it is parsed, so that nothing slips through.

Source: Open Inference Protocol, ``inference_rest.md``, "Tensor Data": flat, or nested like the
shape.  What JSON has no form for (FP16, BF16, NaN, infinities) needs the binary extension.
"""

import math
import re
from functools import cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from gateway.errors import BadRequestError
from gateway.serving.protocol import RequestedInput
from models.bytes_tensor import as_elements
from models.manifest import DTYPES

NO_JSON_FORM = frozenset({"FP16", "BF16"})
_NESTED = re.compile(rb"\s*\[\s*\[")
_ELEMENTS = {"b": bool, "i": int, "u": int, "f": float, "O": str}  # by numpy's kind


def from_json(tensor: RequestedInput) -> NDArray[Any]:
    """Read the content of a tensor whose shape is known to be sane.

    Nothing is allocated for numbers that are more than the shape needs.

    Raises:
        BadRequestError: an element is of another type, too large for it, or there are more or
            fewer than the shape needs.
    """
    if tensor.datatype in NO_JSON_FORM:
        problem = f"input {tensor.name}: {tensor.datatype} has no JSON form; send it as binary"
        raise BadRequestError(problem, code="wrong_datatype")
    dtype = DTYPES[tensor.datatype]
    wanted = math.prod(tensor.shape)
    if dtype.kind != "O" and bytes(tensor.data).count(b",") > wanted:  # strings may hold commas
        problem = f"input {tensor.name}: data has more elements than shape {list(tensor.shape)}"
        raise BadRequestError(problem, code="wrong_size")
    depth = len(tensor.shape) if _is_nested(tensor.data) else 1
    elements = _parse(tensor, _decoder(_ELEMENTS[dtype.kind], depth))
    if dtype.kind == "O":
        array = _as_text(elements, depth, wanted=wanted)
    else:
        array = _as_numbers(tensor, elements, dtype)
    if array.size != wanted or (depth > 1 and array.shape != tensor.shape):
        problem = (
            f"input {tensor.name}: data has {array.size} elements, shape {list(tensor.shape)} "
            f"needs {wanted}, flat or nested like the shape"
        )
        raise BadRequestError(problem, code="wrong_size")
    return array.reshape(tensor.shape)


def to_json(name: str, array: NDArray[Any]) -> Any:
    """Give the content of an output in a form that orjson writes, flat.

    Raises:
        BadRequestError: it holds bytes that are no text, which JSON cannot carry.
    """
    if array.dtype == object:
        try:
            return [element.decode() for element in array.reshape(-1)]
        except UnicodeDecodeError:
            problem = f"output {name} is not text; ask for it as binary"
            raise BadRequestError(problem, code="not_text") from None
    if array.dtype.itemsize == 2 and array.dtype.kind not in "iu":
        array = array.astype(np.float32)  # exact; orjson knows neither FP16 nor BF16
    return np.ascontiguousarray(array).reshape(-1)


def _is_nested(data: msgspec.Raw) -> bool:
    """Whether a list begins with a list."""
    return _NESTED.match(data) is not None


@cache
def _decoder(element: type, depth: int) -> "msgspec.json.Decoder[list[Any]]":
    kind: Any = element
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


def _parse(tensor: RequestedInput, decoder: "msgspec.json.Decoder[list[Any]]") -> list[Any]:
    try:
        return decoder.decode(tensor.data)
    except msgspec.ValidationError as error:
        if "out of range" in str(error):
            raise _does_not_fit(tensor) from None
        problem = f"input {tensor.name}, data: {error}"
        raise BadRequestError(problem, code="wrong_data") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        problem = f"input {tensor.name}: data is not valid JSON"
        raise BadRequestError(problem, code="malformed_json") from None


def _as_numbers(tensor: RequestedInput, elements: list[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    try:
        with np.errstate(over="ignore"):
            array = np.array(elements, dtype)
    except OverflowError:
        raise _does_not_fit(tensor) from None
    except ValueError:
        problem = f"input {tensor.name}: data is ragged"
        raise BadRequestError(problem, code="wrong_data") from None
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise _does_not_fit(tensor)
    return array


def _as_text(elements: list[Any], depth: int, *, wanted: int) -> NDArray[Any]:
    """Flatten nested lists of strings level by level, keeping the shape only if none is ragged.

    Strings are encoded only if they are as many as the shape needs.
    """
    shape = [len(elements)]
    for _ in range(depth - 1):
        widths = {len(part) for part in elements}
        shape.append(widths.pop() if len(widths) == 1 else -1)
        elements = [element for part in elements for element in part]
    if len(elements) != wanted:
        return np.empty(len(elements), np.object_)  # the caller refuses it by its size
    flat = as_elements([text.encode() for text in elements], (wanted,))
    return flat.reshape(shape) if -1 not in shape and math.prod(shape) == len(flat) else flat


def _does_not_fit(tensor: RequestedInput) -> BadRequestError:
    problem = f"input {tensor.name}: a number does not fit {tensor.datatype}"
    return BadRequestError(
        problem, code="not_finite" if tensor.datatype[0] == "F" else "wrong_data"
    )
