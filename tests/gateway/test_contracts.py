"""`handrail contract`: what it prints, what it refuses, and how it exits."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from models.bundle import Bundle
from models.model_yaml import parse_manifest
from models.signing import SigningKey
from tests.gateway.serving.columns_model import build_columns, ordinary_columns
from tests.gateway.test_cli import handrail

Ran = "subprocess.CompletedProcess[str]"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return build_columns(Path(tmp_path_factory.mktemp("bundles")), SigningKey.create())


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., Path]:
    """Write rows, some changed, some left out."""

    def write(**changes: object) -> Path:
        arrays = dict(ordinary_columns(200)) | {"labels": np.arange(200) % 2}
        arrays |= {name: np.array(value) for name, value in changes.items() if value is not None}
        told = {
            name: array.astype("S") if array.dtype == object else array
            for name, array in arrays.items()
            if changes.get(name, "") is not None
        }
        path = tmp_path / "rows.npz"
        np.savez(path, **told)
        return path

    return write


def test_what_is_inferred_can_be_put_into_the_manifest(
    bundle: Bundle, rows: Callable[..., Path], tmp_path: Path
) -> None:
    told = handrail("contract", "infer", bundle.path, "--reference", rows())

    assert told.returncode == 0, told.stderr
    features = yaml.safe_load(told.stdout)["features"]
    assert [(one["name"], one.get("kind", "number")) for one in features] == [
        ("age", "number"),
        ("income", "integer"),
        ("job", "category"),
        ("labels", "boolean"),
    ]
    assert features[3]["environments"] == ["training"]
    manifest = yaml.safe_load((bundle.path / "model.yaml").read_bytes())
    manifest["guards"]["schema"]["features"] = features
    reviewed = tmp_path / "model.yaml"
    reviewed.write_text(yaml.safe_dump(manifest))
    parse_manifest(reviewed.read_bytes())
    assert handrail("contract", "check", reviewed, rows()).returncode == 0
    training = handrail("contract", "check", reviewed, rows(), "--environment", "training")
    assert training.returncode == 0, training.stderr


def test_rows_that_break_the_contract_are_counted_and_named(
    bundle: Bundle, rows: Callable[..., Path]
) -> None:
    ages = np.full((200, 1), 30, np.float32)
    ages[:3] = 5

    told = handrail("contract", "check", bundle.path, rows(age=ages), "--json")

    assert told.returncode == 1
    assert json.loads(told.stdout) == {
        "rows": 200,
        "broken": 3,
        "reasons": [{"feature": "age", "kind": "range", "times": 3}],
    }


def test_a_column_that_is_not_there_is_named(bundle: Bundle, rows: Callable[..., Path]) -> None:
    told = handrail("contract", "check", bundle.path, rows(age=None))

    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr == "['age'] should be there in serving, and are not\n"


def test_a_breaking_change_is_said_and_is_the_exit_status(bundle: Bundle, tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    text = (bundle.path / "model.yaml").read_text()
    assert "unit: years" in text
    new.write_text(text.replace("unit: years", "unit: months"))

    same = handrail("contract", "diff", bundle.path, bundle.path)
    breaking = handrail("contract", "diff", bundle.path, new)

    assert (same.returncode, same.stdout) == (0, "same\n")
    assert breaking.returncode == 1
    assert breaking.stdout == "breaking\nage was in years and is in months\n"


def test_a_manifest_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    told = handrail("contract", "diff", tmp_path / "a", tmp_path / "b")

    assert told.returncode == 2
    assert told.stderr.count("\n") == 1
