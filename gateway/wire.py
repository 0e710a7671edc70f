"""Inference requests and answers between numpy and bytes, as a client sees them.

Source: Open Inference Protocol v2, ``inference_rest.md``, and Triton's binary tensor data
extension, ``extension_binary_data.md``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bytes_tensor import as_elements, cut_elements, join_elements
from models.signature import DTYPES

HEADER_LENGTH = "Inference-Header-Content-Length"
READ_HEADER = "Handrail-Read"  # of an export: which part of the log was read
US_PER_MS = 1000

Arrays = Mapping[str, NDArray[Any]]
Json = dict[str, Any]

DATATYPES = {dtype.name: datatype for datatype, dtype in DTYPES.items()}  # in any byte order
_WIRE = {datatype: dtype.newbyteorder("<") for datatype, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered, and where the answer comes from."""

    outputs: dict[str, NDArray[Any]]
    prediction_id: str  # names this answer when its labels are sent
    served_by: str
    parameters: Json


def encode_request(
    inputs: Arrays,
    *,
    timeout_ms: float | None,
    outputs: Sequence[str],
    binary: bool,
    request_id: str | None,
) -> tuple[bytes, int]:
    """Build the body of an inference request; also return the length of its JSON part."""
    parameters: Json = {"binary_data_output": binary}
    if timeout_ms is not None:
        parameters["timeout"] = round(timeout_ms * US_PER_MS)
    parts = []
    described = []
    for name, array in inputs.items():
        tensor: Json = {
            "name": name,
            "datatype": _datatype(name, array),
            "shape": list(array.shape),
        }
        if binary:
            part = _to_bytes(array)
            tensor["parameters"] = {"binary_data_size": len(part)}
            parts.append(part)
        else:
            tensor["data"] = _to_json(array)
        described.append(tensor)
    message: Json = {"parameters": parameters, "inputs": described}
    if outputs:
        message["outputs"] = [
            {"name": name, "parameters": {"binary_data": binary}} for name in outputs
        ]
    if request_id is not None:
        message["id"] = request_id
    head = json.dumps(message, allow_nan=False).encode()
    return b"".join((head, *parts)), len(head)


def decode_answer(body: bytes, header_length: str | None) -> Answer:
    """Read the body of an inference response, with or without raw bytes after its JSON."""
    json_bytes = len(body) if header_length is None else int(header_length)
    message = json.loads(body[:json_bytes])
    arrays = {}
    start = json_bytes
    for tensor in message["outputs"]:
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is None:
            flat = _from_json(tensor["data"], tensor["datatype"])
        else:
            flat = _from_bytes(body[start : start + size], tensor)
            start += size
        arrays[tensor["name"]] = flat.reshape(tensor["shape"])
    parameters = message.get("parameters", {})
    return Answer(
        arrays, parameters.get("prediction_id", ""), parameters.get("served_by", ""), parameters
    )


def _to_json(array: NDArray[Any]) -> list[Any]:
    if array.dtype == object:
        return [_as_bytes(element).decode() for element in array.ravel()]
    return list(array.ravel().tolist())


def _to_bytes(array: NDArray[Any]) -> bytes:
    if array.dtype == object:
        elements = [_as_bytes(element) for element in array.ravel()]
        return join_elements(as_elements(elements, (len(elements),)))
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _as_bytes(element: str | bytes) -> bytes:
    """People write text; the wire has bytes."""
    return element.encode() if isinstance(element, str) else element


def _from_json(data: list[Any], datatype: str) -> NDArray[Any]:
    if datatype == "BYTES":
        return as_elements([str(item).encode() for item in data], (len(data),))
    return np.array(data, dtype=_WIRE[datatype])


def _from_bytes(part: bytes, tensor: Json) -> NDArray[Any]:
    if tensor["datatype"] == "BYTES":
        return cut_elements(part, tensor["shape"])
    return np.frombuffer(part, dtype=_WIRE[tensor["datatype"]])


def _datatype(name: str, array: NDArray[Any]) -> str:
    """Name the datatype of an input.

    Raises:
        ValueError: the protocol has none for it.
    """
    datatype = DATATYPES.get(array.dtype.name)
    if datatype is None:
        raise ValueError(f"input {name}: arrays of {array.dtype.name} cannot be sent")
    return datatype
