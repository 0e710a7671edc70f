"""The requests that every server gets, on every wire, and whether it answers them right."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import onnxruntime
from image_model import image_rows
from load import JSON, Load, run_h2load, run_wrk
from numpy.typing import NDArray
from peer_servers import Place
from tritonclient.grpc import service_pb2, service_pb2_grpc

from models.examples.mlp import ordinary_rows

SEED = 0
HEADER_LENGTH = "Inference-Header-Content-Length"
METHOD = "inference.GRPCInferenceService/ModelInfer"
TIMEOUT_S = 30.0
TOLERANCE = 1e-4  # of a probability; JSON rounds


class WrongAnswerError(Exception):
    """A server answered, but not what the model says."""

    def __init__(self, request: str, found: str) -> None:
        super().__init__(request, found)
        self.request = request
        self.found = found

    def __str__(self) -> str:
        """Name the request and show the answer."""
        return f"{self.request} was answered {self.found[:500]}"


@dataclass(frozen=True)
class Request:
    """One tensor for one model, on one wire: ``json``, ``binary`` or ``grpc``."""

    wire: str
    model: str
    rows: NDArray[np.float32]
    truth: NDArray[np.float32]  # what ONNX Runtime itself answers

    @property
    def tensor(self) -> dict[str, Any]:
        """The description of the tensor, without its data."""
        name = {"mlp": "features", "image": "image"}[self.model]
        return {"name": name, "shape": list(self.rows.shape), "datatype": "FP32"}

    @property
    def path(self) -> str:
        """Where it is posted."""
        return f"/v2/models/{self.model}/infer"

    def http(self) -> tuple[bytes, Mapping[str, str]]:
        """Write body and headers."""
        if self.wire == "json":
            # Four decimals, as a person would write them; float() for the shortest form.
            data = [round(float(value), 4) for value in self.rows.ravel()]
            return json.dumps({"inputs": [self.tensor | {"data": data}]}).encode(), JSON
        raw = self.rows.tobytes()
        size = {"parameters": {"binary_data_size": len(raw)}}
        told = {"inputs": [self.tensor | size], "parameters": {"binary_data_output": True}}
        head = json.dumps(told).encode()
        return head + raw, {
            "Content-Type": "application/octet-stream",
            HEADER_LENGTH: str(len(head)),
        }

    def message(self) -> service_pb2.ModelInferRequest:
        """Write the gRPC message, its tensor as raw bytes."""
        message = service_pb2.ModelInferRequest(model_name=self.model)
        message.inputs.add(**self.tensor)
        message.raw_input_contents.append(self.rows.tobytes())
        return message

    def check(self, place: Place) -> int:
        """Send it once and compare the answer; return the answer's length in bytes.

        Raises:
            WrongAnswerError: the numbers are not those of the model.
        """
        if self.wire == "grpc":
            with grpc.insecure_channel(place.grpc) as channel:
                stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
                answer = stub.ModelInfer(self.message(), timeout=TIMEOUT_S)
            found, length, shown = _grpc_numbers(answer), answer.ByteSize(), str(answer)
        else:
            body, headers = self.http()
            response = httpx.post(
                place.url + self.path, content=body, headers=dict(headers), timeout=TIMEOUT_S
            )
            if response.status_code != 200:
                raise WrongAnswerError(str(self), f"{response.status_code} {response.text}")
            found, length = _http_numbers(response), len(response.content)
            shown = repr(response.content)
        same = found.size == self.truth.size
        if not same or np.abs(found.ravel() - self.truth.ravel()).max() > TOLERANCE:
            raise WrongAnswerError(str(self), shown)
        return length

    def load(self, place: Place, *, connections: int, duration_s: int) -> Load:
        """Send it in a closed loop."""
        much = {"connections": connections, "duration_s": duration_s}
        if self.wire == "grpc":
            length = self.check(place)
            url = f"http://{place.grpc}/{METHOD}"
            content = self.message().SerializeToString()
            return run_h2load(url, content, answer_bytes=length, **much)
        body, headers = self.http()
        return run_wrk(place.url + self.path, body, headers=headers, **much)

    def __str__(self) -> str:
        """Say what it is, in few words."""
        return f"{len(self.rows)} row(s) for {self.model}, {self.wire}"


def _grpc_numbers(answer: Any) -> NDArray[Any]:
    if answer.raw_output_contents:
        return np.frombuffer(answer.raw_output_contents[0], np.float32)
    return np.array(answer.outputs[0].contents.fp32_contents)


def _http_numbers(response: httpx.Response) -> NDArray[Any]:
    length = response.headers.get(HEADER_LENGTH)
    if length is None:
        return np.array(response.json()["outputs"][0]["data"])
    return np.frombuffer(response.content[int(length) :], np.float32)


def build_requests(files: Mapping[str, Path]) -> dict[str, Request]:
    """Draw the requests, and ask ONNX Runtime for the truth.

    Args:
        files: Model files by name, ``mlp`` and ``image``.
    """
    rng = np.random.default_rng(SEED)
    rows = {"": ("mlp", ordinary_rows(1, rng)), " 32 rows": ("mlp", ordinary_rows(32, rng))}
    rows[" image"] = ("image", image_rows(1, rng))
    found = {}
    for label, (model, array) in rows.items():
        array = array.round(4)  # the same numbers on every wire
        session = onnxruntime.InferenceSession(files[model], providers=["CPUExecutionProvider"])
        [truth] = session.run(None, {session.get_inputs()[0].name: array})
        for wire in ("json", "binary", "grpc"):
            found[f"{wire}{label}"] = Request(wire, model, array, truth)
    return found
