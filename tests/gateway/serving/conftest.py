"""A model's ingress in this process: real bundle, real ONNX; Serve and the disk are left out."""

import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.config import RecordSettings
from gateway.record.decision import Decision, decode
from gateway.record.inflight import Flight
from gateway.registry.routing import RoutingTable, VersionRef
from gateway.serving.admission import Admission
from gateway.serving.batcher import Batcher
from gateway.serving.breaker import Breakers
from gateway.serving.description import answering
from gateway.serving.fingerprint import Fingerprints
from gateway.serving.ingress import Ingress
from gateway.serving.intake import Intake
from gateway.serving.ladder import Ladder
from gateway.serving.pipeline import Pipeline
from gateway.serving.recording import Recording
from gateway.serving.statistics import Statistics, VersionStats, total
from gateway.serving.suspects import Suspects
from gateway.serving.versions import Versions
from models.bundle import Bundle
from models.examples.breast_cancer import build_breast_cancer
from models.examples.example import Example
from models.signing import SigningKey
from tests.rankings import build_ranking


@dataclass
class Kept:
    """Stands where the journal's committer stands, and keeps what is written."""

    decisions: list[Decision] = field(default_factory=list)

    def append(self, body: bytes) -> None:
        self.decisions.append(decode(body))


@dataclass
class Served:
    """One model behind its ingress, and what it recorded."""

    client: httpx.AsyncClient
    ingress: Ingress
    versions: Versions
    batcher: Batcher
    admission: Admission
    kept: Kept
    feedback: list[tuple[bytes, str]]


def table(*bundles: Bundle, live: int = 0, revision: int = 1, **fields: Any) -> RoutingTable:
    """Route to ``bundles[live]`` and keep all of them warm."""
    refs = tuple(VersionRef(b.manifest.version, b.digest) for b in bundles)
    name = bundles[0].manifest.name
    return RoutingTable(name, revision, refs[live].version, refs, **fields)


Serve = Callable[..., Any]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start ingresses; ``serve(bundle, ...)`` returns a `Served`."""
    clients: list[httpx.AsyncClient] = []

    async def start(
        *bundles: Bundle,
        inline_below_us: float = 1e9,
        max_queued_rows: int = 8192,
        max_body_bytes: int = 1 << 20,
        max_in_flight_bytes: int = 1 << 28,
        max_json_bytes: int = 8 << 20,
        closed: Callable[[], str | None] = lambda: None,
        suspects: Suspects | None = None,
        flight: Flight | None = None,
        **fields: Any,
    ) -> Served:
        paths = {bundle.digest: bundle.path for bundle in bundles}
        versions = Versions(paths.__getitem__, salt=b"the salt of the tests")
        await versions.apply(table(*bundles, **fields))
        name = bundles[0].manifest.name
        statistics = Statistics(name)
        batcher, rungs = (
            Batcher(
                ThreadPoolExecutor(1),
                max_rows=256,
                inline_below_us=inline_below_us,
                exploration_closed=closed,
                count_batch=count,
                lane=None if flight is None else flight.lane(lane),
            )
            for lane, count in enumerate((statistics.count_batch, None))
        )
        admission = Admission(batcher, max_queued_rows=max_queued_rows)
        pipeline = Pipeline(
            versions,
            batcher,
            admission,
            Ladder(batcher, rungs),
            Breakers(now_ns=time.perf_counter_ns, random=lambda: 0.0),
            fingerprints=Fingerprints(bundles[0].manifest.name, key=b"the key of the tests"),
            suspects=suspects,
        )
        kept, feedback = Kept(), []

        async def take(body: bytes, content_type: str) -> dict[str, Any]:
            feedback.append((body, content_type))
            return {"accepted": 1}

        async def counted() -> list[VersionStats]:
            return total([statistics.told(answering(versions.view))])

        ingress = Ingress(
            name,
            versions=versions,
            pipeline=pipeline,
            recording=Recording(kept, name, statistics),  # type: ignore[arg-type]
            feedback=take,
            statistics=counted,
            max_batch_rows=256,
            intake=Intake(name, max_bytes=max_in_flight_bytes),
            max_body_bytes=max_body_bytes,
            max_json_bytes=max_json_bytes,
        )
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(ingress),
            base_url=f"http://127.0.0.1/v2/models/{name}",
        )
        clients.append(client)
        return Served(client, ingress, versions, batcher, admission, kept, feedback)

    yield start
    for client in clients:
        await client.aclose()


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Callable[..., Bundle]:
    """Pack rankings; each only once."""
    made: dict[str, Bundle] = {}

    def build(explore: Any, **more: Any) -> Bundle:
        name = repr((explore, more))
        if name not in made:
            made[name] = build_ranking(tmp_path_factory.mktemp("ranking"), key, explore, **more)
        return made[name]

    return build


@pytest.fixture(scope="session")
def cancer(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Example:
    """The breast_cancer example: real measurements, real scikit-learn model in ONNX."""
    return build_breast_cancer(Path(tmp_path_factory.mktemp("cancer")), key)


@pytest.fixture(scope="session")
def settings() -> RecordSettings:
    """Default record settings."""
    return RecordSettings()
