"""A real gateway per test module: `handrail up` in a process of its own, as a user starts it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.client import Client
from gateway.cluster import free_ports
from gateway.registry.keys import local_signing_key
from gateway.running import key_of
from models.examples.breast_cancer import build_breast_cancer
from models.examples.digits import build_digits
from models.examples.example import Example
from models.signing import SigningKey

READY_S = 90.0
SMALL = {
    "HANDRAIL__RAY__OBJECT_STORE_BYTES": str(100 * 1024 * 1024),
    "HANDRAIL__RECORD__TRACE_SHARE": "1.0",
    "HANDRAIL__EVALUATE__RECONCILE_S": "1.0",
    "HANDRAIL__EVALUATE__DRIFT_S": "1.0",
    "HANDRAIL__RECORD__TRAFFIC_S": "0.5",
}


@dataclass(frozen=True)
class Running:
    """A gateway that answers."""

    state: Path
    url: str
    grpc_port: int
    process: "subprocess.Popen[bytes]"
    proxy: str

    def client(self) -> Client:
        """Talk to it with the admin key."""
        return Client(self.url, key_of(self.state))


@contextmanager
def gateway(state: Path, **environment: str) -> Iterator[Running]:
    """Run `handrail up` until the block ends; nothing of it is left afterwards."""
    port, grpc_port = free_ports(2)
    url = f"http://127.0.0.1:{port}"
    command = (sys.executable, "-m", "gateway.cli", "up", "--state", str(state))
    log = state.parent / f"{state.name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--grpc-port", str(grpc_port)],
            env=os.environ | SMALL | environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(
            lambda: b"\nready " in b"\n" + log.read_bytes() or process.poll() is not None, READY_S
        )
        assert process.poll() is None, log.read_text()
        proxy = environment.get("HANDRAIL__RAY__PROXY", "haproxy")
        yield Running(state, url, grpc_port, process, proxy)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def wait_for(condition: Callable[[], object], timeout_s: float, *, every_s: float = 0.1) -> None:
    """Poll until the condition holds."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until_s, "waited in vain"
        time.sleep(every_s)


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> tuple[Example, Example]:
    """Train both examples once: digits in two versions, breast_cancer."""
    root = tmp_path_factory.mktemp("bundles")
    return build_digits(root, key), build_breast_cancer(root, key)


@pytest.fixture
def new_state(tmp_path: Path, key: SigningKey) -> Path:
    """Make a state directory that trusts the test's key."""
    state = tmp_path / "state"
    local_signing_key(state / "keys")
    key.publish(state / "keys" / "trusted")
    return state


@pytest.fixture(scope="package")
def common(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Iterator[Running]:
    """One gateway for all tests that bring a model of their own and ask for no other settings."""
    state = tmp_path_factory.mktemp("common") / "state"
    local_signing_key(state / "keys")
    key.publish(state / "keys" / "trusted")
    with gateway(state, HANDRAIL__EVALUATE__QUALITY_S="0.5") as running:
        yield running


@pytest.fixture(scope="package")
def closed(
    tmp_path_factory: pytest.TempPathFactory, key: SigningKey, examples: tuple[Example, Example]
) -> Iterator[Running]:
    """A gateway that asks everybody for a key, with breast_cancer live."""
    state = tmp_path_factory.mktemp("closed") / "state"
    local_signing_key(state / "keys")
    key.publish(state / "keys" / "trusted")
    with gateway(state, HANDRAIL__SERVER__OPEN_INFERENCE="false") as running:
        with running.client() as client:
            client.register(examples[1].bundles[0].path, as_="live")
        yield running


@pytest.fixture(scope="module", params=["haproxy", "serve"])
def shared(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    key: SigningKey,
    examples: tuple[Example, Example],
) -> Iterator[Running]:
    """One gateway for the tests of a module, with both examples live and a shadow of digits.

    Behind HAProxy, and behind Serve's own proxy, which is what runs where HAProxy cannot.
    """
    if request.param == "haproxy" and sys.platform != "linux":
        pytest.skip("there is no HAProxy for Serve but for Linux")
    state = tmp_path_factory.mktemp("gateway") / "state"
    local_signing_key(state / "keys")
    key.publish(state / "keys" / "trusted")
    digits, cancer = examples
    proxy = {"HANDRAIL__RAY__PROXY": request.param, "HANDRAIL__SERVING__REPLICAS": "2"}
    with gateway(state, **proxy) as running:
        with running.client() as client:
            client.register(digits.bundles[0].path, as_="live")
            client.register(digits.bundles[1].path, as_="shadow", trust_code=True)
            client.register(cancer.bundles[0].path, as_="live")
        yield running
