import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from gateway.api.app import build_api
from gateway.api.fleet import Movement
from gateway.config import Config, load_config
from gateway.errors import NotReadyError
from gateway.evaluate.asked import AskedLog
from gateway.evaluate.auditor import Auditor
from gateway.record.evidence import Evidence
from gateway.registry.artifacts import ArtifactStore
from gateway.registry.database import open_database
from gateway.registry.keys import ApiKeys, local_signing_key, trusted_keys
from gateway.registry.registry import Registry
from gateway.registry.routing import RoutingTable
from gateway.registry.switches import Switch
from models.bundle import Bundle
from tests.gateway.registry.bundles import make_bundle


@dataclass
class HandFleet:
    """A fleet that does as it is told and remembers what it was asked."""

    replicas: int = 2
    deployed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    pushed: list[RoutingTable] = field(default_factory=list)
    switched: list[tuple[str, bool]] = field(default_factory=list)
    shadow_changes: int = 0
    unready: set[str] = field(default_factory=set)
    answers: dict[str, list[str]] = field(default_factory=dict)  # model -> versions
    movements: dict[str, Movement] = field(default_factory=dict)
    fails_to_deploy: bool = False
    hold: asyncio.Event | None = None  # a deployment waits for it
    delays_s: list[float] = field(default_factory=list)  # of the next pushes

    async def deploy(self, model: str) -> None:
        if self.hold is not None:
            await self.hold.wait()
        if self.fails_to_deploy:
            raise NotReadyError(f"model {model!r} does not answer after 60 s")
        self.deployed.append(model)

    async def remove(self, model: str) -> None:
        self.removed.append(model)

    async def push(self, table: RoutingTable) -> int:
        await asyncio.sleep(self.delays_s.pop(0) if self.delays_s else 0)
        self.pushed.append(table)
        return self.replicas

    async def explore(self, model: str, switch: Switch) -> int:
        self.switched.append((model, switch.is_on))
        return self.replicas

    async def statistics(self, model: str) -> list[dict[str, Any]]:
        return [{"name": model, "version": v} for v in await self.answering(model)]

    async def answering(self, model: str) -> list[str]:
        return self.answers.get(model, [])

    async def moving(self) -> dict[str, Movement]:
        return self.movements

    async def ready(self, model: str) -> bool:
        if model in self.unready:
            raise ConnectionError(model)
        return True

    async def shadow_changed(self) -> None:
        self.shadow_changes += 1

    async def processes(self) -> dict[str, Any]:
        return {"recorder": None}


@pytest.fixture
def report() -> Callable[[str], dict[str, Any]]:
    """What the evaluator found."""
    return lambda model: {
        "model": model,
        "expectations": [{"name": "latency_ms", "state": "holds"}],
    }


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(tmp_path / "state", server={"max_bundle_bytes": 1 << 20})


@pytest.fixture
def fleet() -> HandFleet:
    return HandFleet()


@pytest.fixture
def registry(config: Config) -> Registry:
    config.state.mkdir()
    return Registry(open_database(config.database_url), ArtifactStore(config.artifacts_url))


@pytest.fixture
def keys(registry: Registry, config: Config) -> ApiKeys:
    return ApiKeys(open_database(config.database_url))


@pytest.fixture
def app(
    registry: Registry,
    keys: ApiKeys,
    fleet: HandFleet,
    config: Config,
    report: Callable[[str], dict[str, Any]],
) -> FastAPI:
    return build_api(
        registry=registry,
        keys=keys,
        fleet=fleet,
        config=config,
        trusted=lambda: trusted_keys(config.keys_dir),
        report=report,
        log=AskedLog(
            open_database(config.database_url),
            registry,
            Evidence(config.evidence_url),
            alpha=config.evaluate.alpha,
        ),
        auditor=Auditor(
            open_database(config.database_url),
            registry,
            Evidence(config.evidence_url),
            lambda digest: registry.artifacts.open_bundle(digest, config.bundle_cache_dir),
        ),
    )


@pytest.fixture
async def client(app: FastAPI, keys: ApiKeys) -> AsyncIterator[httpx.AsyncClient]:
    """An admin."""
    async with connect(app, keys.create("admin", "ann")) as client:
        yield client


@pytest.fixture
async def stranger(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody without a key."""
    async with connect(app) as client:
        yield client


def connect(app: FastAPI, key: str | None = None) -> httpx.AsyncClient:
    # The framework raises what it answered with 500 again; clients only see the answer.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)


class Bundles:
    """Makes bundles that this gateway trusts."""

    def __init__(self, root: Path, keys_dir: Path) -> None:
        self._root = root
        self._key = local_signing_key(keys_dir)
        self._made = 0

    def __call__(self, version: str = "1", **options: Any) -> Bundle:
        self._made += 1
        return make_bundle(self._root / str(self._made), version, **{"key": self._key, **options})


@pytest.fixture
def bundles(tmp_path: Path, config: Config) -> Bundles:
    return Bundles(tmp_path / "bundles", config.keys_dir)
