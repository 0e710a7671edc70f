"""Handrail beside its peers: the same ONNX models in MLServer, KServe, LitServe, BentoML, Ray Serve.

Every peer has its own virtual environment below ``bench/.venvs`` (made when missing), one worker,
and the settings its documentation recommends; it runs bare.  Handrail runs with every guard,
recording and capture on.  The servers run one at a time, in turns, on the same machine with the
load generator.  Run: ``python bench/peers.py``; needs wrk.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
from load import run_wrk
from open_loop import http_request, poisson_arrivals, run_open_loop
from results import write

from gateway.client import Client
from gateway.cluster import free_ports
from gateway.registry.keys import local_signing_key
from gateway.running import key_of
from models.bundle import Bundle
from models.examples.mlp import build_mlp, ordinary_rows
from peer_models import build_image
from tritonclient.grpc import service_pb2, service_pb2_grpc

SEED = 0
HERE = Path(__file__).parent
PINNED = {
    "mlserver": "mlserver==1.7.1",
    "kserve": "kserve==0.21.0",
    "litserve": "litserve==0.2.19",
    "bentoml": "bentoml==1.4.40",
}
CONNECTIONS = (1, 16, 64)
SHARES = (0.5, 0.8)  # of a server's own saturation, for open-loop load
IMAGE = (1, 3, 224, 224)
READY_S = 90.0


@dataclass(frozen=True)
class Server:
    """One server under test: how to start it, and what it can do."""

    name: str
    command: Callable[[int, int], list[str]]  # HTTP port, gRPC port
    has_binary: bool = False
    has_grpc: bool = False


def environment_of(name: str) -> Path:
    """Make a peer's virtual environment if it is missing; return its ``bin``."""
    home = HERE / ".venvs" / name
    if not (home / "bin" / name.replace("litserve", "python")).exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, PINNED[name], "onnxruntime", "numpy"], check=True)
    return home / "bin"


def peers() -> list[Server]:
    """List the peers."""

    def script(name: str) -> Callable[[int, int], list[str]]:
        python = str(environment_of(name) / "python")
        return lambda http, rpc: [python, f"{name}_onnx.py", str(http), str(rpc)]

    bento = str(environment_of("bentoml") / "bentoml")

    def serve_bento(http: int, _: int) -> list[str]:
        where = ["--host", "127.0.0.1", "--port", str(http)]
        return [bento, "serve", "bentoml_onnx:Onnx", *where]

    return [
        Server("mlserver", script("mlserver"), has_grpc=True),
        Server("kserve", script("kserve"), has_binary=True, has_grpc=True),
        Server("litserve", script("litserve")),
        Server("bentoml", serve_bento),
        Server(
            "ray serve", lambda http, _: [sys.executable, "ray_onnx.py", str(http)]
        ),
    ]


@contextmanager
def started(server: Server, models: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Run a peer until the block ends; yields its URL and gRPC address."""
    http, rpc = free_ports(2)
    told = ",".join(f"{name}={path}" for name, path in models.items())
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            server.command(http, rpc),
            cwd=HERE / "peers",
            env=os.environ | {"MODELS": told, "BENTOML_DO_NOT_TRACK": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{http}"
            _wait_until_ready(url, process)
            yield url, f"127.0.0.1:{rpc}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                pass
            with __import__("contextlib").suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    until_s = time.monotonic() + READY_S
    while time.monotonic() < until_s and process.poll() is None:
        try:
            if httpx.post(f"{url}/v2/models/mlp/infer", content=rows_body(1)).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.3)
    raise SystemExit(f"{process.args} does not answer")
