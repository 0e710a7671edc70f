from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guards.errors import CalibrationTooSmallError
from models.bundle import Bundle, load_golden, load_guards, load_reference
from models.errors import BundleError
from models.examples import mlp
from models.manifest import Manifest, RuntimeSpec
from models.opening import open_bundle
from models.pack import pack
from models.signing import SigningKey, TrustedKeys

Repack = Callable[..., Bundle]


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "source.onnx"
    path.write_bytes(mlp.mlp_onnx(np.random.default_rng(7)))
    return path


def test_packing_twice_gives_the_same_bundle(
    artifact: Path, repack: Repack, packed: Bundle, tmp_path: Path
) -> None:
    assert repack(artifact, tmp_path / "again").digest == packed.digest


def test_the_features_that_were_seen_are_written_into_the_manifest(
    artifact: Path, repack: Repack, tmp_path: Path
) -> None:
    names = [f"f{column}" for column in range(30)]

    named = repack(artifact, tmp_path / "named", feature_names=names).manifest
    unnamed = repack(artifact, tmp_path / "unnamed").manifest

    assert [feature.name for feature in named.guards.schema_.features] == names
    assert [(f.name, f.count) for f in unnamed.guards.schema_.features] == [("features", 30)]


def test_a_place_that_is_taken_is_refused_and_left_alone(
    artifact: Path, repack: Repack, tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")

    with pytest.raises(BundleError, match="something at this place already"):
        repack(artifact, tmp_path / "taken")
    assert (tmp_path / "taken" / "file").read_text() == "mine"


def test_an_empty_directory_is_filled(artifact: Path, repack: Repack, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert repack(artifact, tmp_path / "empty").path == tmp_path / "empty"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"held_out": {"features": np.zeros((10, 30), np.float32)}}, CalibrationTooSmallError),
        ({"reference": {"features": np.zeros((200, 29), np.float32)}}, ValueError),
        ({"reference": {"other": np.zeros((200, 30), np.float32)}}, ValueError),
        ({"held_out": {"features": np.zeros((0, 30), np.float32)}}, ValueError),
        ({"reference_labels": np.zeros(199)}, ValueError),
        ({"feature_names": ["one", "two"]}, ValueError),
    ],
)
def test_a_failure_leaves_nothing_behind(
    artifact: Path, repack: Repack, tmp_path: Path, changes: dict[str, Any], error: type[Exception]
) -> None:
    (tmp_path / "out").mkdir()

    with pytest.raises(error):
        repack(artifact, tmp_path / "out" / "bundle", **changes)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_that_is_no_model_is_refused(repack: Repack, tmp_path: Path) -> None:
    (tmp_path / "source.onnx").write_bytes(b"\xff\xffnot a model")

    with pytest.raises(BundleError, match=r"source\.onnx is not ONNX"):
        repack(tmp_path / "source.onnx", tmp_path / "out")


def test_a_constant_model_needs_no_artifact_and_no_held_out_thresholds(
    key: SigningKey, tmp_path: Path
) -> None:
    rows = {"features": mlp.ordinary_rows(5, np.random.default_rng(0))}
    bundle = pack(
        constant_manifest(), None, reference=rows, held_out=rows, out=tmp_path / "c", key=key
    )

    assert open_bundle(bundle.path, TrustedKeys.of([key.public])) == bundle
    assert load_guards(bundle).outlier is None
    assert load_reference(bundle).labels is None
    assert len(load_golden(bundle).features) == 5


def test_an_artifact_for_a_constant_model_is_refused(
    artifact: Path, key: SigningKey, tmp_path: Path
) -> None:
    rows = {"features": mlp.ordinary_rows(5, np.random.default_rng(0))}

    with pytest.raises(ValueError, match="go together"):
        pack(
            constant_manifest(),
            artifact,
            reference=rows,
            held_out=rows,
            out=tmp_path / "c",
            key=key,
        )


def constant_manifest() -> Manifest:
    return Manifest(
        name="constant",
        version="1",
        runtime=RuntimeSpec(kind="constant", outputs={"probabilities": [0.25, 0.75]}),
        signature=mlp.SIGNATURE,
    )
