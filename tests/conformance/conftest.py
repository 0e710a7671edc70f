"""The Open Inference Protocol v2, box by box, against any server.

By default against a gateway of its own.  Against another server, which has the models of
`identity` under their names::

    pytest tests/conformance --url http://127.0.0.1:8080 --grpc 127.0.0.1:8081

A test without a mark is about the protocol's own text, or about what stock clients cannot do
without.  ``extension`` marks what Triton defined beside it, ``own`` what the protocol leaves open
and Handrail decided; nobody else is asked for that.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2_grpc

from gateway.registry.keys import local_signing_key
from tests.conformance.identity import MODELS, build
from tests.e2e.conftest import gateway

TIMEOUT_S = 10.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--url", help="base URL of the server to test; default: a gateway of its own")
    parser.addoption("--grpc", help="host:port of its gRPC service")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "extension(name): beyond the protocol's own text")
    config.addinivalue_line("markers", "own: a choice of Handrail, skipped with --url")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("extension"):
            item.user_properties.append(("extension", mark.args[0]))  # reports carry it
        if config.getoption("--url", None) and item.get_closest_marker("own"):
            item.add_marker(pytest.mark.skip(reason="a choice of Handrail"))


@dataclass(frozen=True)
class Target:
    """Where the server under test answers."""

    url: str
    grpc: str | None


@pytest.fixture(scope="package")
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    url = request.config.getoption("--url", None)
    if url is not None:
        yield Target(url.rstrip("/"), request.config.getoption("--grpc", None))
        return
    root = tmp_path_factory.mktemp("conformance")
    key = local_signing_key(root / "state" / "keys")
    bundles = [build(Path(root), name, key) for name in MODELS]
    with gateway(root / "state") as running, running.client() as client:
        for bundle in bundles:
            client.register(bundle.path, as_="live")
        yield Target(running.url, f"127.0.0.1:{running.grpc_port}")


@pytest.fixture
def http(target: Target) -> Iterator[httpx.Client]:
    # No redirects: tritonclient and KServe's client follow none.
    with httpx.Client(base_url=target.url, timeout=TIMEOUT_S, follow_redirects=False) as client:
        yield client


@pytest.fixture
def stub(target: Target) -> Iterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    if target.grpc is None:
        pytest.fail("no gRPC service")
    with grpc.insecure_channel(target.grpc) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)
