"""Handrail as the benchmarks start it: one replica, every guard, recording and capture on."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
from image_model import build_image
from peer_servers import START_S, NoStartError, Place

from gateway.client import Client
from gateway.cluster import free_ports
from gateway.config import ServerSettings
from gateway.registry.keys import local_signing_key
from gateway.running import key_of
from models.bundle import Bundle
from models.examples.mlp import build_mlp
from models.signing import SigningKey

BUILDERS = (build_mlp, build_image)
END_S = 60.0
LAG_S = 1.0  # the recorder reads four times a second


@contextmanager
def handrail(bundles: Sequence[Bundle], key: SigningKey) -> Iterator[Place]:
    """Run a gateway with these bundles live until the block ends.

    Raises:
        NoStartError: it does not come up in `START_S`.
    """
    port, rpc, metrics = free_ports(3)
    own = {"HANDRAIL__RECORD__METRICS_PORT": str(metrics), "RAY_USAGE_STATS_ENABLED": "0"}
    has_grpc = "grpc_port" in ServerSettings.model_fields
    if has_grpc:
        own["HANDRAIL__SERVER__GRPC_PORT"] = str(rpc)
    with tempfile.TemporaryDirectory() as scratch, (Path(scratch) / "log").open("w+b") as log:
        state = Path(scratch) / "state"
        local_signing_key(state / "keys")
        key.publish(state / "keys" / "trusted")
        up = ["-m", "gateway.cli", "up", "--state", str(state), "--port", str(port)]
        process = subprocess.Popen(
            [sys.executable, *up], env=os.environ | own, stdout=log, stderr=log
        )
        try:
            _wait(process, Path(log.name))
            url = f"http://127.0.0.1:{port}"
            with Client(url, key_of(state)) as client:
                for bundle in bundles:
                    client.register(bundle.path, as_="live")
            yield Place(
                url,
                f"127.0.0.1:{rpc}" if has_grpc else None,
                has_binary=True,
                metrics=f"http://127.0.0.1:{metrics}/metrics",
            )
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=END_S)


def _wait(process: "subprocess.Popen[bytes]", log: Path) -> None:
    until_s = time.monotonic() + START_S
    while b"\nready " not in b"\n" + log.read_bytes():
        if process.poll() is not None or time.monotonic() > until_s:
            raise NoStartError("handrail", log.read_text(errors="replace"))
        time.sleep(0.2)


def fallback_share(metrics_url: str) -> float:
    """Which share of all answers came from a rung of the ladder and not from the model."""
    time.sleep(LAG_S)
    text = httpx.get(metrics_url).text

    def total(name: str) -> float:
        found = re.findall(rf"^handrail_{name}_total\{{.*\}} (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    return total("fallbacks") / max(total("inference_requests"), 1.0)
