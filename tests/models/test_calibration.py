"""Labels of held-out rows calibrate what a model says of its certainty, when it is packed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import CALIBRATION_FILE, Bundle, load_guards
from models.errors import BundleError
from models.opening import open_bundle
from models.seal import seal
from models.signing import SigningKey, TrustedKeys

Repack = Callable[..., Bundle]
LABELS = np.random.default_rng(0).integers(0, 2, 100)


@pytest.fixture(scope="session")
def labelled(packed: Bundle, repack: Repack, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The packed bundle again, with labels that have nothing to do with its answers."""
    out = tmp_path_factory.mktemp("labelled") / "small"
    return repack(packed.path / "model.onnx", out, held_out_labels=LABELS)


def test_labels_calibrate_the_confidence(labelled: Bundle, packed: Bundle) -> None:
    """Of a model that knows nothing of the labels, half is as sure as it may be."""
    answers = np.array([[0.01, 0.99], [0.99, 0.01]], np.float32)
    guard = load_guards(labelled).output

    assert guard.calibration is not None
    assert guard.confidence(answers).max() < 0.7
    assert load_guards(packed).output.calibration is None
    assert load_guards(packed).output.confidence(answers).min() == pytest.approx(0.99)


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (LABELS[:99], "one label per held-out row"),
        (LABELS + 1, "classes 0 to 1"),
        (LABELS + 0.5, "whole numbers"),
        (LABELS.astype(str), "whole numbers"),
        (np.full(100, np.nan), "whole numbers"),
        (LABELS[:, None], "one label per held-out row"),
    ],
)
def test_labels_that_are_no_classes_are_refused(
    packed: Bundle, repack: Repack, tmp_path: Path, labels: np.ndarray, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        repack(packed.path / "model.onnx", tmp_path / "out", held_out_labels=labels)


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"temperatures": np.ones(3)},
        {"temperatures": np.array([1.0, -1.0])},
        {"temperatures": np.array(["a", "b"])},
    ],
)
def test_a_calibration_of_another_model_is_refused(
    labelled: Bundle,
    key: SigningKey,
    trusted: TrustedKeys,
    tmp_path: Path,
    arrays: dict[str, Any],
) -> None:
    copy = tmp_path / "small"
    copy.mkdir()
    for file in labelled.path.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    np.savez(copy / CALIBRATION_FILE, **arrays)
    seal(copy, key)

    with pytest.raises(BundleError, match="does not hold the calibration"):
        load_guards(open_bundle(copy, trusted))
