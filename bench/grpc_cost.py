"""What gRPC costs: the same rows to the same gateway over gRPC and over HTTP, in turns.

Three ways in: HTTP with binary tensors; HTTP with the protobuf message, which is what the front
hands on; gRPC itself.  Second against first is the codec, third against second is the front.
Run: ``python bench/grpc_cost.py``; needs h2load, which speaks both protocols.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from overhead import started
from results import write

from gateway.client import Client
from gateway.cluster import free_ports
from gateway.oip import MEDIA_TYPE
from gateway.oip import inference_pb2 as pb
from gateway.registry.keys import local_signing_key
from gateway.running import key_of
from gateway.wire import encode_request
from models.examples.mlp import build_mlp, ordinary_rows

SEED = 0
METHOD = "/inference.GRPCInferenceService/ModelInfer"
WARM_UP_S = 2


@dataclass(frozen=True)
class Way:
    """One way to ask: what h2load sends, and how."""

    url: str
    options: tuple[str, ...]
    body: bytes


@dataclass(frozen=True)
class Case:
    """How many rows are asked for at a time, over how many connections and streams."""

    rows: int
    connections: int
    streams: int = 1

    def __str__(self) -> str:
        """Name it in the results."""
        at_once = f"c={self.connections}" + (f"x{self.streams}" if self.streams > 1 else "")
        return at_once if self.rows == 1 else f"{at_once}, {self.rows} rows"


CASES = (Case(1, 1), Case(1, 16), Case(1, 1, 16), Case(32, 1), Case(4096, 1))


@dataclass(frozen=True)
class Load:
    """What one run of h2load saw."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failed: int


def run_h2load(way: Way, case: Case, *, duration_s: int) -> Load:
    """Keep ``case.streams`` requests under way on each connection; needs h2load's own log."""
    with tempfile.TemporaryDirectory() as scratch:
        body, log = Path(scratch) / "body", Path(scratch) / "log"
        body.write_bytes(way.body)
        shape = [f"-c{case.connections}", f"-m{case.streams}", "-t1", f"-D{duration_s}"]
        files = [f"--data={body}", f"--log-file={log}"]
        subprocess.run(
            ["h2load", *shape, *files, *way.options, way.url], capture_output=True, check=True
        )
        lines = [line.split() for line in log.read_text().splitlines()]
    took_ms = np.array([int(us) for _, _, us in lines]) / 1000
    p50, p99 = np.percentile(took_ms, (50, 99))
    failed = sum(status != "200" for _, status, _ in lines)
    return Load(len(lines) / duration_s, float(p50), float(p99), failed)


def ways(http_port: int, grpc_port: int, *, rows: int) -> dict[str, Way]:
    """Write the same rows in the three forms."""
    features = ordinary_rows(rows, np.random.default_rng(SEED)).astype(np.float32)
    binary, head = encode_request(
        {"features": features}, timeout_ms=None, outputs=(), binary=True, request_id=None
    )
    message = pb.ModelInferRequest(model_name="mlp", raw_input_contents=[features.tobytes()])
    message.inputs.add(name="features", datatype="FP32", shape=features.shape)
    content = message.SerializeToString()
    url = f"http://127.0.0.1:{http_port}/v2/models/mlp/infer"
    return {
        "http binary": Way(url, ("--h1", f"-HInference-Header-Content-Length: {head}"), binary),
        "http protobuf": Way(url, ("--h1", f"-HContent-Type: {MEDIA_TYPE}"), content),
        "grpc": Way(
            f"http://127.0.0.1:{grpc_port}{METHOD}",
            ("-HContent-Type: application/grpc", "-Hte: trailers"),
            b"\0" + len(content).to_bytes(4, "big") + content,  # uncompressed, one message
        ),
    }


def measure(ports: Sequence[int], *, rounds: int, duration_s: int) -> dict[str, Any]:
    """Take turns within every case and round; HTTP/1.1 has no streams, so it has no such case."""
    runs: dict[str, dict[str, list[Load]]] = {}
    for turn in range(rounds + 1):
        for case in CASES:
            for name, way in ways(*ports, rows=case.rows).items():
                if case.streams > 1 and name != "grpc":
                    continue
                load = run_h2load(way, case, duration_s=duration_s if turn else WARM_UP_S)
                if turn:
                    runs.setdefault(str(case), {}).setdefault(name, []).append(load)
    return {
        case: {name: _summary(loads) for name, loads in of_case.items()}
        for case, of_case in runs.items()
    }


def _summary(loads: list[Load]) -> dict[str, Any]:
    return {
        "requests_per_s": round(statistics.median(load.requests_per_s for load in loads), 1),
        "requests_per_s_all": [round(load.requests_per_s, 1) for load in loads],
        "p50_ms": round(statistics.median(load.p50_ms for load in loads), 3),
        "p99_ms": round(statistics.median(load.p99_ms for load in loads), 3),
        "failed": sum(load.failed for load in loads),
    }


def _ratios(cases: dict[str, Any]) -> dict[str, float]:
    one, sixteen = cases["c=1"], cases["c=16"]
    rest, proto, call = (one[name]["p50_ms"] for name in ("http binary", "http protobuf", "grpc"))
    rate = {name: figures["requests_per_s"] for name, figures in sixteen.items()}
    ratios = {
        "p50 c=1, grpc / http binary": call / rest,
        "p50 c=1, codec, us": (proto - rest) * 1000,
        "p50 c=1, front, us": (call - proto) * 1000,
        "throughput c=16, grpc / http binary": rate["grpc"] / rate["http binary"],
        "throughput c=16, http protobuf / http binary": rate["http protobuf"] / rate["http binary"],
    }
    return {name: round(ratio, 3) for name, ratio in ratios.items()}


def check(grpc_port: int, way: Way) -> None:
    """Make one real call: h2load sees gRPC's failures as HTTP's 200."""
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        answer = channel.unary_unary(METHOD)(way.body[5:])
    assert pb.ModelInferResponse.FromString(answer).parameters["served_by"].string_param == "model"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration-s", type=int, default=3)
    asked = parser.parse_args()
    if shutil.which("h2load") is None:
        raise SystemExit("this benchmark needs h2load (Debian: apt-get install nghttp2-client)")
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "state"
        bundle = build_mlp(state.parent, local_signing_key(state / "keys"))
        ports = free_ports(2)
        where = ("--state", str(state), "--port", str(ports[0]), "--grpc-port", str(ports[1]))
        stack.enter_context(started("-m", "gateway.cli", "up", *where))
        with Client(f"http://127.0.0.1:{ports[0]}", key_of(state)) as client:
            client.register(bundle.path, as_="live")
        call = ways(*ports, rows=1)["grpc"]
        check(ports[1], call)
        cases = measure(ports, rounds=asked.rounds, duration_s=asked.duration_s)
        check(ports[1], call)
    path = write(__file__, seed=SEED, figures={"ratios": _ratios(cases), "cases": cases})
    print(json.dumps(_ratios(cases), indent=1))
    print(path)


if __name__ == "__main__":
    main()
