"""Inference requests and answers between numpy and bytes, as a client sees them.

Source: Open Inference Protocol v2, ``inference_rest.md``, and Triton's binary tensor data
extension, ``extension_binary_data.md``.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER_LENGTH = "Inference-Header-Content-Length"
US_PER_MS = 1000

Arrays = Mapping[str, NDArray[Any]]
Json = dict[str, Any]

DATATYPES: Mapping[str, str] = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64",
}  # fmt: skip
_DTYPES = {datatype: np.dtype(name).newbyteorder("<") for name, datatype in DATATYPES.items()}


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
            part = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
            tensor["parameters"] = {"binary_data_size": len(part)}
            parts.append(part)
        else:
            tensor["data"] = array.ravel().tolist()
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
            flat = _from_bytes(body[start : start + size], tensor["datatype"])
            start += size
        arrays[tensor["name"]] = flat.reshape(tensor["shape"])
    parameters = message.get("parameters", {})
    return Answer(
        arrays, parameters.get("prediction_id", ""), parameters.get("served_by", ""), parameters
    )


def _from_json(data: list[Any], datatype: str) -> NDArray[Any]:
    if datatype == "BYTES":
        return np.array([str(item).encode() for item in data], dtype=object)
    return np.array(data, dtype=_DTYPES[datatype])


def _from_bytes(part: bytes, datatype: str) -> NDArray[Any]:
    if datatype == "BYTES":
        return np.array(list(_split_bytes(part)), dtype=object)
    return np.frombuffer(part, dtype=_DTYPES[datatype])


def _split_bytes(part: bytes) -> Iterator[bytes]:
    """Cut BYTES elements apart: each is its length in four bytes, then its content."""
    start = 0
    while start < len(part):
        end = start + 4 + int.from_bytes(part[start : start + 4], "little")
        yield part[start + 4 : end]
        start = end


def _datatype(name: str, array: NDArray[Any]) -> str:
    """Name the datatype of an input.

    Raises:
        ValueError: the protocol has none for it.
    """
    datatype = DATATYPES.get(array.dtype.name)
    if datatype is None:
        raise ValueError(f"input {name}: arrays of {array.dtype.name} cannot be sent")
    return datatype
