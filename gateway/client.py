"""A small Python client: inference over the Open Inference Protocol v2, and the management API.

Source: ``inference_rest.md`` of the protocol, and Triton's ``extension_binary_data.md``.
"""

import json
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import httpx
import numpy as np
from numpy.typing import NDArray

HEADER_LENGTH = "Inference-Header-Content-Length"
TIMEOUT_S = 30.0
UPLOAD_S = 300.0  # the gateway runs the golden rows before it answers
US_PER_MS = 1000

Arrays = Mapping[str, NDArray[Any]]
Json = dict[str, Any]

DATATYPES: Mapping[str, str] = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64",
    "int8": "INT8", "int16": "INT16", "int32": "INT32", "int64": "INT64",
    "float16": "FP16", "float32": "FP32", "float64": "FP64",
}  # fmt: skip
_DTYPES = {datatype: np.dtype(name).newbyteorder("<") for name, datatype in DATATYPES.items()}


class AnswerError(Exception):
    """The gateway answered with an error, or not at all (status 0, code ``unreachable``)."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(status, code, sentence)
        self.status = status
        self.code = code
        self.sentence = sentence

    def __str__(self) -> str:
        """Repeat what the gateway said."""
        return self.sentence


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered, and where the answer comes from."""

    outputs: dict[str, NDArray[Any]]
    prediction_id: str  # names this answer when its labels are sent
    served_by: str
    parameters: Json


class Client:
    """Talks to one gateway.  Close it, or use it in a ``with`` statement."""

    def __init__(
        self, url: str, key: str | None = None, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=TIMEOUT_S, transport=transport
        )

    def __enter__(self) -> Self:
        """Do nothing but return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def infer(
        self,
        model: str,
        inputs: Arrays,
        *,
        timeout_ms: float | None = None,
        version: str | None = None,
        outputs: Sequence[str] = (),
        binary: bool = True,
        request_id: str | None = None,
    ) -> Answer:
        """Ask a model about rows.

        Args:
            model: Its name.
            inputs: Arrays of the model's datatypes, each (n, ...).
            timeout_ms: An answer later than this is of no use; the model's own budget still holds.
            version: A certain version; None: the live one.
            outputs: Which outputs to send; empty: all of the model's.  Outputs that are only sent
                when asked for start with ``handrail.``.
            binary: Send and receive raw bytes, which is faster; False: JSON.
            request_id: Names the request in traces; the same id is the same decision.

        Raises:
            AnswerError: there is no answer.
        """
        body, json_bytes = encode_request(
            inputs, timeout_ms=timeout_ms, outputs=outputs, binary=binary, request_id=request_id
        )
        headers = {"Content-Type": "application/json"}
        if binary:
            headers = {
                "Content-Type": "application/octet-stream",
                HEADER_LENGTH: str(json_bytes),
            }
        if request_id is not None:
            headers["X-Request-Id"] = request_id
        at = f"/versions/{version}" if version is not None else ""
        response = self._send(
            "POST", f"/v2/models/{model}{at}/infer", content=body, headers=headers
        )
        return decode_answer(response.content, response.headers.get(HEADER_LENGTH))

    def feedback(self, model: str, items: Sequence[Json]) -> Json:
        """Send labels or rewards; they are on disk when this returns."""
        return self._json("POST", f"/v2/models/{model}/feedback", json={"items": list(items)})

    def register(
        self, bundle: Path, *, as_: Literal["live", "shadow"], trust_code: bool = False
    ) -> Json:
        """Upload a bundle directory and register it."""
        with tempfile.TemporaryFile() as archive:
            write_archive(bundle, archive)
            archive.seek(0)
            return self._json(
                "POST",
                "/api/v1/models",
                params={"as": as_, "trust_code": trust_code},
                content=archive,
                headers={"Content-Type": "application/x-tar"},
                timeout=UPLOAD_S,
            )

    def models(self) -> list[Json]:
        """List the models with their routing tables."""
        found: list[Json] = self._json("GET", "/api/v1/models")["models"]
        return found

    def status(self) -> Json:
        """Tell which models answer, and how their expectations stand."""
        return self._json("GET", "/api/v1/status")

    def report(self, model: str) -> Json:
        """Tell what the evaluator found about a model."""
        return self._json("GET", f"/api/v1/models/{model}/report")

    def promote(self, model: str, version: str | None = None, *, why: str = "") -> Json:
        """Make a version live; None: the shadow."""
        body = {"why": why} if version is None else {"version": version, "why": why}
        return self._json("POST", f"/api/v1/models/{model}/promote", json=body)

    def rollback(self, model: str, *, why: str = "") -> Json:
        """Return to the previous version."""
        return self._json("POST", f"/api/v1/models/{model}/rollback", json={"why": why})

    def ready(self) -> bool:
        """Whether every registered model answers."""
        try:
            self._send("GET", "/v2/health/ready")
        except AnswerError:
            return False
        return True

    def _json(self, method: str, path: str, **request: Any) -> Json:
        answer: Json = self._send(method, path, **request).json()
        return answer

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            problem = f"no answer from {self._http.base_url}: {error or type(error).__name__}"
            raise AnswerError(0, "unreachable", problem) from error
        if response.status_code != 200:
            raise _answer_error(response)
        return response


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
            "datatype": DATATYPES[array.dtype.name],
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


def write_archive(bundle: Path, archive: IO[bytes]) -> None:
    """Write the files of a bundle directory as a plain tar, in the order of their names."""
    # USTAR has no extended headers, which the gateway refuses.
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(bundle.iterdir()):
            tar.add(path, arcname=path.name, recursive=False)


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


def _answer_error(response: httpx.Response) -> AnswerError:
    try:
        body = response.json()
        return AnswerError(response.status_code, str(body["code"]), str(body["error"]))
    except (ValueError, KeyError, TypeError):
        status = response.status_code
        return AnswerError(status, "unknown", f"the gateway answered with status {status}")
