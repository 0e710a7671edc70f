from pathlib import Path

import pytest

from gateway.registry.artifacts import ArtifactStore
from gateway.registry.database import open_database
from gateway.registry.registry import Registry


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    engine = open_database(f"sqlite:///{tmp_path}/handrail.db")
    return Registry(engine, ArtifactStore(f"file://{tmp_path}/artifacts"))
