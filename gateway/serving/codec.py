"""Tensors between the wire and numpy, as JSON or as raw little-endian bytes.

Everything is bounded before it is allocated: a shape is multiplied in Python
integers and compared with what really came.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from gateway.errors import BadRequestError
from gateway.serving.protocol import Envelope, Parameters, RequestedInput
from models.manifest import DTYPES, Signature, TensorSpec

Arrays = dict[str, NDArray[Any]]
DATATYPES = {dtype: name for name, dtype in DTYPES.items()}
_WIRE = {name: dtype.newbyteorder("<") for name, dtype in DTYPES.items()}


def decode_inputs(envelope: Envelope, signature: Signature) -> tuple[Arrays, int]:
    """Turn the announced inputs into arrays of the signature's shapes and datatypes.

    Returns:
        The arrays by name in the signature's order, and their number of rows.

    Raises:
        BadRequestError: a name, datatype, shape or size is not what the model takes.
    """
    given = {tensor.name: tensor for tensor in envelope.inputs}
    if len(given) != len(signature.inputs) or any(s.name not in given for s in signature.inputs):
        wanted = ", ".join(spec.name for spec in signature.inputs)
        raise BadRequestError(f"inputs must be exactly: {wanted}")
    parts = _binary_parts(envelope)
    rows = given[signature.inputs[0].name].shape[0]
    arrays = {}
    for spec in signature.inputs:
        tensor = given[spec.name]
        _check_shape(tensor, spec, rows)
        if tensor.data is not None:
            arrays[spec.name] = _from_json(tensor, tensor.data, spec)
        else:
            arrays[spec.name] = _from_bytes(tensor, parts[spec.name])
    return arrays, rows


def _binary_parts(envelope: Envelope) -> dict[str, memoryview]:
    """Cut the binary section into the parts of the inputs, in their order."""
    parts = {}
    offset = 0
    for tensor in envelope.inputs:
        size = tensor.binary_bytes
        parts[tensor.name] = envelope.binary[offset : offset + size]
        offset += size
    if offset != len(envelope.binary):
        raise BadRequestError(
            f"binary_data_size of all inputs adds up to {offset} bytes, "
            f"but {len(envelope.binary)} bytes follow the JSON"
        )
    return parts


def _check_shape(tensor: RequestedInput, spec: TensorSpec, rows: int) -> None:
    if tensor.datatype != spec.datatype:
        raise BadRequestError(
            f"input {spec.name}: expected datatype {spec.datatype}, got {tensor.datatype}"
        )
    if tensor.shape[1:] != spec.row_shape or len(tensor.shape) != len(spec.shape):
        raise BadRequestError(
            f"input {spec.name}: expected shape {list(spec.shape)}, got {list(tensor.shape)}"
        )
    if tensor.shape[0] < 1:
        raise BadRequestError(f"input {spec.name}: at least one row is needed")
    if tensor.shape[0] != rows:
        raise BadRequestError(f"input {spec.name}: every input must have the same number of rows")


def _from_bytes(tensor: RequestedInput, part: memoryview) -> NDArray[Any]:
    dtype = _WIRE[tensor.datatype]
    expected = math.prod(tensor.shape) * dtype.itemsize
    if expected != len(part):
        raise BadRequestError(
            f"input {tensor.name}: shape {list(tensor.shape)} of {tensor.datatype} takes "
            f"{expected} bytes, but binary_data_size is {len(part)}"
        )
    array = np.frombuffer(part, dtype).reshape(tensor.shape)
    if tensor.datatype == "BOOL" and array.view(np.uint8).max(initial=0) > 1:
        raise BadRequestError(f"input {tensor.name}: a BOOL byte must be 0 or 1")
    return array


def _from_json(tensor: RequestedInput, data: list[Any], spec: TensorSpec) -> NDArray[Any]:
    if tensor.datatype == "FP16":
        raise BadRequestError(f"input {tensor.name}: FP16 has no JSON form; send it as binary")
    elements = math.prod(tensor.shape)
    try:
        array = np.array(data)
        if tensor.datatype == "UINT64" and array.dtype.kind == "f":
            array = _exact_integers(data, array)
    except (ValueError, OverflowError):
        raise BadRequestError(f"input {tensor.name}: data is ragged or too deep") from None
    if array.size != elements or (array.ndim != 1 and array.shape != tensor.shape):
        raise BadRequestError(
            f"input {tensor.name}: data has {array.size} numbers, shape {list(tensor.shape)} "
            f"needs {elements}, flat or nested like the shape"
        )
    return _cast(array, DTYPES[spec.datatype], tensor.name).reshape(tensor.shape)


def _exact_integers(data: list[Any], array: NDArray[Any]) -> NDArray[Any]:
    """Read integers again that numpy took for floats: it does so where small and huge ones mix."""
    objects = np.array(data, dtype=object)
    if any(type(item) is not int for item in objects.flat):
        return array
    return objects.astype(np.uint64)


def _cast(array: NDArray[Any], dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    """Cast JSON numbers without letting text, nulls, fractions or overflow slip through."""
    fits = {"b": "b", "i": "iu", "u": "iu", "f": "fiu"}[dtype.kind]
    if array.dtype.kind not in fits:
        raise BadRequestError(f"input {name}: data must be {DATATYPES[dtype]} numbers only")
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            cast = array.astype(dtype)
        if not np.isfinite(cast).all():
            raise BadRequestError(f"input {name}: a number does not fit {DATATYPES[dtype]}")
        return cast
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise BadRequestError(f"input {name}: a number does not fit {DATATYPES[dtype]}")
    return array.astype(dtype)


def encode_answer(
    outputs: Mapping[str, NDArray[Any]],
    envelope: Envelope,
    *,
    model: str,
    version: str,
    parameters: Parameters,
) -> tuple[bytes, int | None]:
    """Build the response body.

    Args:
        outputs: By name, in the order they go out; object arrays hold ``bytes`` (BYTES).
        envelope: The request, for its id and for which outputs go out as raw bytes.
        model: Model name.
        version: Version that answered.
        parameters: Provenance; strings, numbers and booleans only.

    Returns:
        The body, and the length of its JSON part if raw bytes follow it.
    """
    described: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for name, array in outputs.items():
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": DATATYPES.get(array.dtype, "BYTES"),
            "shape": array.shape,
        }
        if envelope.wants_binary(name):
            part = _to_bytes(array)
            tensor["parameters"] = {"binary_data_size": len(part)}
            parts.append(part)
        else:
            tensor["data"] = _to_json(array)
        described.append(tensor)
    message: dict[str, Any] = {"model_name": model, "model_version": version}
    if envelope.id is not None:
        message["id"] = envelope.id
    message["parameters"] = parameters
    message["outputs"] = described
    head = orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY)
    if not parts:
        return head, None
    return b"".join((head, *parts)), len(head)


def _to_json(array: NDArray[Any]) -> Any:
    if array.dtype == object:
        return [item.decode() for item in array.reshape(-1)]
    if array.dtype == np.float16:
        array = array.astype(np.float32)  # exact; orjson knows no half
    return np.ascontiguousarray(array).reshape(-1)


def _to_bytes(array: NDArray[Any]) -> bytes:
    if array.dtype == object:
        return b"".join(len(item).to_bytes(4, "little") + item for item in array.reshape(-1))
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
