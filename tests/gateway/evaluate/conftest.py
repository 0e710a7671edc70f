"""A database, and a registered model with a live version and a shadow."""

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine

from gateway.evaluate import tables  # noqa: F401  # before the database is opened
from gateway.record.decision import Decision
from gateway.registry.artifacts import ArtifactStore
from gateway.registry.database import open_database
from gateway.registry.registry import Registry
from models.bundle import Bundle
from models.examples import mlp
from models.manifest import Expectations, GuardsSpec, Manifest, RuntimeSpec
from models.pack import pack
from models.prediction import predicted
from models.runtime.catalog import open_runtime
from models.signing import SigningKey
from tests.gateway.evaluate.decisions import ARRIVED_NS, decide, payload_of


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/handrail.db"


@pytest.fixture
def engine(database_url: str) -> Engine:
    return open_database(database_url)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    """Two versions of an ONNX classifier with different weights."""
    out, key = tmp_path_factory.mktemp("bundles"), SigningKey.create()
    return _pack(out, "1", seed=1, key=key), _pack(out, "2", seed=2, key=key)


def _pack(out: Path, version: str, *, seed: int, key: SigningKey) -> Bundle:
    rng = np.random.default_rng(seed)
    artifact = out / f"{version}.onnx"
    artifact.write_bytes(mlp.mlp_onnx(rng))
    manifest = Manifest(
        name="mlp",
        version=version,
        runtime=RuntimeSpec(kind="onnx", file="model.onnx", device="cpu"),
        signature=mlp.SIGNATURE,
        guards=GuardsSpec(),
        expectations=Expectations(
            latency_ms=50, availability=0.9, accuracy=0.6, fallback_share=0.2
        ),
    )
    rows = {"features": mlp.ordinary_rows(100, rng)}
    return pack(manifest, artifact, reference=rows, held_out=rows, out=out / version, key=key)


@pytest.fixture
def registry(engine: Engine, tmp_path: Path, bundles: tuple[Bundle, Bundle]) -> Registry:
    """Version 1 is live, version 2 its shadow since before any decision arrived."""
    registry = Registry(
        engine, ArtifactStore(f"file://{tmp_path}/artifacts"), clock=lambda: ARRIVED_NS / 1e9 - 1
    )
    registry.register(bundles[0], as_="live", trust_code=False, who="test")
    registry.register(bundles[1], as_="shadow", trust_code=False, who="test")
    return registry


@pytest.fixture
def decisions(bundles: tuple[Bundle, Bundle]) -> list[Decision]:
    """What version 1 answered to 20 requests of 3 rows, half of them captured."""
    runtime, signature = open_runtime(bundles[0]), bundles[0].manifest.signature
    made = []
    for n in range(20):
        rows = mlp.ordinary_rows(3, np.random.default_rng(n))
        answer = predicted(runtime.predict({"features": rows}), signature)
        payload = payload_of(rows) if n % 2 else None
        made.append(decide(n, rows=3, predicted=tuple(answer.tolist()), payload=payload))
    return made
