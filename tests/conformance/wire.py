"""Requests written by hand, so that no client's habits hide what the server does."""

import json
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from tests.conformance.identity import DTYPES, MODELS, input_name, output_name, sample

JSON_DATATYPES = MODELS["identity"]
# A model or version that is not there.  The protocol: "typically 400"; Triton: 404; KServe has no
# versions and says so.
UNKNOWN = (400, 404, 501)


def rows_of(datatypes: tuple[str, ...], rows: int = 2, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Draw an array per datatype."""
    rng = np.random.default_rng(seed)
    return {datatype: sample(datatype, rows, rng) for datatype in datatypes}


def to_json(array: NDArray[Any]) -> list[Any]:
    """Write values as JSON has them, flat."""
    if array.dtype == object:
        return [value.decode() for value in array.ravel()]
    return array.ravel().tolist()


def to_bytes(array: NDArray[Any]) -> bytes:
    """Write values as raw bytes: little-endian, row-major; BYTES with their lengths."""
    if array.dtype == object:
        return b"".join(len(v).to_bytes(4, "little") + v for v in array.ravel())
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def from_bytes(datatype: str, raw: bytes, shape: list[int]) -> NDArray[Any]:
    """Read what `to_bytes` wrote."""
    if datatype != "BYTES":
        return np.frombuffer(raw, np.dtype(DTYPES[datatype])).reshape(shape)
    values, offset = [], 0
    while offset < len(raw):
        size = int.from_bytes(raw[offset : offset + 4], "little")
        values.append(raw[offset + 4 : offset + 4 + size])
        offset += 4 + size
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(shape)


def described(datatype: str, array: NDArray[Any], **fields: Any) -> dict[str, Any]:
    """Announce one input."""
    return {
        "name": input_name(datatype),
        "datatype": datatype,
        "shape": list(array.shape),
        **fields,
    }


def json_request(arrays: dict[str, NDArray[Any]], **fields: Any) -> dict[str, Any]:
    """Build a request with its tensors as JSON."""
    inputs = [described(d, array, data=to_json(array)) for d, array in arrays.items()]
    return {"inputs": inputs, **fields}


def binary_request(arrays: dict[str, NDArray[Any]], **fields: Any) -> tuple[bytes, dict[str, str]]:
    """Build a request with its tensors as raw bytes: body and headers."""
    parts = {d: to_bytes(array) for d, array in arrays.items()}
    inputs = [
        described(d, array, parameters={"binary_data_size": len(parts[d])})
        for d, array in arrays.items()
    ]
    head = json.dumps({"inputs": inputs, **fields}).encode()
    return head + b"".join(parts.values()), {"Inference-Header-Content-Length": str(len(head))}


def read_binary(response: httpx.Response) -> dict[str, NDArray[Any]]:
    """Read a response with raw outputs, by output name; JSON outputs are left out."""
    size = int(response.headers["Inference-Header-Content-Length"])
    head, raw = json.loads(response.content[:size]), response.content[size:]
    found, offset = {}, 0
    for output in head["outputs"]:
        length = output.get("parameters", {}).get("binary_data_size")
        if length is None:
            continue
        part = raw[offset : offset + length]
        found[output["name"]] = from_bytes(output["datatype"], part, output["shape"])
        offset += length
    assert offset == len(raw)
    return found


def assert_same(found: NDArray[Any], wanted: NDArray[Any]) -> None:
    """Compare exactly, bytes as bytes."""
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    assert (found == wanted).all()


def json_outputs(message: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Pick the outputs of an answer by name."""
    return {output["name"]: output for output in message["outputs"]}


OUTPUTS = {datatype: output_name(datatype) for datatype in DTYPES}
