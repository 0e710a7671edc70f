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
from gateway.serving.json_tensor import from_json, to_json
from gateway.serving.protocol import Envelope, Parameters, RequestedInput
from models.bytes_tensor import cut_elements, join_elements
from models.manifest import DTYPES, Signature, TensorSpec

Arrays = dict[str, NDArray[Any]]
DATATYPES = {dtype: name for name, dtype in DTYPES.items()}
STRINGS_MAX = 1 << 18  # of one tensor: each is an object, made on the event loop
_WIRE = {name: dtype.newbyteorder("<") for name, dtype in DTYPES.items()}


def decode_inputs(envelope: Envelope, signature: Signature) -> tuple[Arrays, int]:
    """Turn the announced inputs into arrays of the signature's shapes and datatypes.

    Returns:
        The arrays by name in the signature's order, and their number of rows.

    Raises:
        BadRequestError: a name, datatype, shape, size or element is not what the model takes.
    """
    given = {tensor.name: tensor for tensor in envelope.inputs}
    _check_names(given, signature)
    rows = given[signature.inputs[0].name].shape[0]
    arrays = {}
    for spec in signature.inputs:
        tensor = given[spec.name]
        _check_shape(tensor, spec, rows)
        part = envelope.parts.get(spec.name)
        arrays[spec.name] = from_json(tensor) if part is None else _from_bytes(tensor, part)
    return arrays, rows


def _check_names(given: Mapping[str, RequestedInput], signature: Signature) -> None:
    missing = [spec.name for spec in signature.inputs if spec.name not in given]
    if missing:
        raise BadRequestError(f"inputs: {', '.join(missing)} missing", code="missing_input")
    if len(given) != len(signature.inputs):
        wanted = ", ".join(spec.name for spec in signature.inputs)
        raise BadRequestError(f"inputs must be exactly: {wanted}", code="unknown_input")


def _check_shape(tensor: RequestedInput, spec: TensorSpec, rows: int) -> None:
    if tensor.datatype != spec.datatype:
        known = tensor.datatype if tensor.datatype in DTYPES else "an unknown one"
        problem = f"input {spec.name}: expected datatype {spec.datatype}, got {known}"
        raise BadRequestError(problem, code="wrong_datatype")
    problem = ""
    if tensor.shape[1:] != spec.row_shape or len(tensor.shape) != len(spec.shape):
        problem = f"expected shape {list(spec.shape)}, got {list(tensor.shape)}"
    elif tensor.shape[0] < 1:
        problem = "at least one row is needed"
    elif tensor.shape[0] != rows:
        problem = "every input must have the same number of rows"
    elif spec.datatype == "BYTES" and math.prod(tensor.shape) > STRINGS_MAX:
        problem = f"at most {STRINGS_MAX} strings in one request"
    if problem:
        raise BadRequestError(f"input {spec.name}: {problem}", code="wrong_shape")


def _from_bytes(tensor: RequestedInput, part: memoryview) -> NDArray[Any]:
    if tensor.datatype == "BYTES":
        try:
            return cut_elements(part, tensor.shape)
        except ValueError as error:
            raise BadRequestError(f"input {tensor.name}: {error}", code="wrong_size") from None
    dtype = _WIRE[tensor.datatype]
    expected = math.prod(tensor.shape) * dtype.itemsize
    if expected != len(part):
        problem = (
            f"input {tensor.name}: shape {list(tensor.shape)} of {tensor.datatype} takes "
            f"{expected} bytes, but {len(part)} came"
        )
        raise BadRequestError(problem, code="wrong_size")
    array = np.frombuffer(part, dtype).reshape(tensor.shape)
    if tensor.datatype == "BOOL" and array.view(np.uint8).max(initial=0) > 1:
        problem = f"input {tensor.name}: a BOOL byte must be 0 or 1"
        raise BadRequestError(problem, code="wrong_data")
    return array


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

    Raises:
        BadRequestError: an output that must go out as JSON is not text.
    """
    described: list[dict[str, Any]] = []
    parts: list[bytes] = []
    for name, array in outputs.items():
        tensor: dict[str, Any] = {
            "name": name,
            "datatype": DATATYPES[array.dtype],
            "shape": array.shape,
        }
        if envelope.wants_binary(name):
            part = to_bytes(array)
            tensor["parameters"] = {"binary_data_size": len(part)}
            parts.append(part)
        else:
            tensor["data"] = to_json(name, array)
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


def to_bytes(array: NDArray[Any]) -> bytes:
    """Write an array as the binary extension has it: little-endian, row-major, BYTES prefixed."""
    if array.dtype == object:
        return join_elements(array)
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
