import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle
from models.errors import BundleError
from models.opening import open_bundle
from models.parity import check_golden, environment_changes, environment_fingerprint
from models.runtime.catalog import open_runtime
from models.runtime.constant import ConstantRuntime
from models.runtime.protocol import Tensors
from models.seal import seal
from models.signing import SigningKey, TrustedKeys


def test_golden_rows_reproduce_to_the_last_bit_where_they_were_recorded(packed: Bundle) -> None:
    check_golden(packed, open_runtime(packed), rtol=0, atol=0)


def test_a_model_whose_weights_were_changed_is_caught(
    copy: Path, key: SigningKey, trusted: TrustedKeys
) -> None:
    model = onnx.load(copy / "model.onnx")
    weight = model.graph.initializer[0]
    changed = onnx.numpy_helper.to_array(weight) * np.float32(1.1)
    weight.CopyFrom(onnx.numpy_helper.from_array(changed, weight.name))
    onnx.save(model, copy / "model.onnx")
    seal(copy, key)
    bundle = open_bundle(copy, trusted)

    with pytest.raises(BundleError, match=r"golden rows: output probabilities differ by up to 0\."):
        check_golden(bundle, open_runtime(bundle))


def test_another_model_altogether_is_caught(packed: Bundle) -> None:
    other = ConstantRuntime({"probabilities": [0.5, 0.5]}, packed.manifest.signature)

    with pytest.raises(BundleError, match="output probabilities differ"):
        check_golden(packed, other)


def test_features_that_changed_are_caught_before_outputs(
    copy: Path, key: SigningKey, trusted: TrustedKeys
) -> None:
    rewrite_golden(copy, lambda arrays: {**arrays, "features": arrays["features"] + 1})
    seal(copy, key)
    bundle = open_bundle(copy, trusted)

    with pytest.raises(BundleError, match="golden rows: features differ by up to 1"):
        check_golden(bundle, open_runtime(bundle))


def test_outputs_that_came_to_hold_nan_are_caught(packed: Bundle) -> None:
    class Nan:
        def predict(self, inputs: Tensors, **_: Any) -> dict[str, NDArray[Any]]:
            return {"probabilities": np.full((len(inputs["features"]), 2), np.nan)}

    with pytest.raises(BundleError, match="output probabilities differ"):
        check_golden(packed, Nan())


def rewrite_golden(
    path: Path, change: Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]
) -> None:
    with np.load(path / "golden.npz", allow_pickle=False) as arrays:
        changed = change(dict(arrays))
    np.savez(path / "golden.npz", allow_pickle=False, **changed)


def test_the_environment_that_packed_a_bundle_is_the_one_it_finds_here(packed: Bundle) -> None:
    assert environment_changes(packed) == {}
    assert environment_fingerprint()["torch"] != "absent"


def test_a_library_of_another_version_is_named(
    copy: Path, key: SigningKey, trusted: TrustedKeys
) -> None:
    there = {**environment_fingerprint(), "numpy": "1.0", "gone": "2.0"}
    (copy / "environment.json").write_text(json.dumps(there))
    seal(copy, key)

    changes = environment_changes(open_bundle(copy, trusted))
    assert changes == {"gone": ("2.0", "absent"), "numpy": ("1.0", np.__version__)}


@pytest.mark.parametrize("text", ["", "[]", '{"numpy": 2}', "[" * 100_000])
def test_an_environment_that_cannot_be_read_is_refused(
    copy: Path, key: SigningKey, trusted: TrustedKeys, text: str
) -> None:
    (copy / "environment.json").write_text(text)
    seal(copy, key)

    with pytest.raises(BundleError, match="does not map names to versions"):
        environment_changes(open_bundle(copy, trusted))
