"""A small signed bundle, and a way to spoil copies of it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guards.outlier.guard import OutlierSettings
from models.bundle import Bundle
from models.examples import mlp
from models.manifest import GuardsSpec, Manifest, RuntimeSpec
from models.pack import pack
from models.signing import SigningKey, TrustedKeys


@pytest.fixture(scope="session")
def trusted(key: SigningKey) -> TrustedKeys:
    return TrustedKeys.of([key.public])


@pytest.fixture(scope="session")
def repack(key: SigningKey) -> Callable[..., Bundle]:
    """Pack an MLP of 30 features at a given place, with every guard and few rows."""

    def _repack(artifact: Path, out: Path, **changes: Any) -> Bundle:
        rng = np.random.default_rng(7)
        manifest = Manifest(
            name="small",
            version="1",
            runtime=RuntimeSpec(kind="onnx", file="model.onnx", device="cpu"),
            signature=mlp.SIGNATURE,
            guards=GuardsSpec(outlier=OutlierSettings(alpha=0.05, delta=0.05)),
        )
        rows = {
            "reference": {"features": mlp.ordinary_rows(200, rng)},
            "held_out": {"features": mlp.ordinary_rows(100, rng)},
            "reference_labels": rng.integers(0, 2, 200),
        }
        settings = {"manifest": manifest, "out": out, "key": key, "golden_rows": 16, **rows}
        return pack(artifact=artifact, **{**settings, **changes})

    return _repack


@pytest.fixture(scope="session")
def packed(repack: Callable[..., Bundle], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """An ONNX model with every guard; read only."""
    scratch = tmp_path_factory.mktemp("packed")
    (scratch / "source.onnx").write_bytes(mlp.mlp_onnx(np.random.default_rng(7)))
    return repack(scratch / "source.onnx", scratch / "small")


@pytest.fixture
def copy(packed: Bundle, tmp_path: Path) -> Path:
    """A copy of the packed bundle that a test may spoil."""
    return Path(shutil.copytree(packed.path, tmp_path / "small"))


@pytest.fixture
def rewrite() -> Callable[[Path, str, str], None]:
    """Replace text in a bundle's model.yaml, and fail if it is not there."""

    def _rewrite(path: Path, old: str, new: str) -> None:
        text = (path / "model.yaml").read_text()
        assert old in text
        (path / "model.yaml").write_text(text.replace(old, new, 1))

    return _rewrite
