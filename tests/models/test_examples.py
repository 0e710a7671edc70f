"""The examples reach what they promise, and the guards see what does not belong."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from guards.verdict import Rows
from models.bundle import Bundle, load_guards
from models.examples.breast_cancer import build_breast_cancer
from models.examples.digits import build_digits
from models.examples.example import Example, split
from models.examples.mlp import build_mlp
from models.examples.strange import strange_digits, strange_measurements
from models.opening import open_bundle
from models.parity import check_golden
from models.runtime.catalog import open_runtime
from models.signing import SigningKey, TrustedKeys


@pytest.fixture(scope="module")
def digits(key: SigningKey, tmp_path_factory: pytest.TempPathFactory) -> Example:
    return build_digits(tmp_path_factory.mktemp("digits"), key)


@pytest.fixture(scope="module")
def breast_cancer(key: SigningKey, tmp_path_factory: pytest.TempPathFactory) -> Example:
    return build_breast_cancer(tmp_path_factory.mktemp("breast_cancer"), key)


def classes(bundle: Bundle, example: Example) -> NDArray[np.intp]:
    outputs = open_runtime(bundle).predict({example.input_name: example.test_rows})
    return np.asarray(outputs["probabilities"].argmax(axis=1))


def strange_share(bundle: Bundle, rows: Rows) -> float:
    """Share of rows that the schema or the outlier guard does not simply allow."""
    guards = load_guards(bundle)
    assert guards.outlier is not None
    acted = guards.outlier.check(rows).actions | guards.schema.check(rows).actions
    return float(np.mean(acted > 0))


def least_seen(bundle: Bundle, kinds: Mapping[str, Rows]) -> float:
    return min(strange_share(bundle, rows) for rows in kinds.values())


def test_both_versions_of_digits_open_reproduce_and_reach_their_accuracy(
    digits: Example, trusted: TrustedKeys
) -> None:
    assert [bundle.path.name for bundle in digits.bundles] == ["digits", "digits-2"]
    assert [bundle.manifest.version for bundle in digits.bundles] == ["1", "2"]
    for bundle in digits.bundles:
        assert open_bundle(bundle.path, trusted, trust_code=True) == bundle
        check_golden(bundle, open_runtime(bundle))
        accuracy = float(np.mean(classes(bundle, digits) == digits.test_labels))
        assert accuracy >= (bundle.manifest.expectations.accuracy or 1) + 0.02


def test_the_versions_of_digits_agree_on_most_rows_but_not_on_all(digits: Example) -> None:
    first, second = (classes(bundle, digits) for bundle in digits.bundles)

    assert 0.95 < np.mean(first == second) < 1


def test_digits_leave_enough_rows_to_calibrate_and_to_test(digits: Example) -> None:
    assert digits.test_rows.shape == (397, 64)
    assert digits.feature_names[:2] == ("image[0]", "image[1]")
    assert strange_share(digits.bundles[0], digits.test_rows) <= 0.03


@pytest.mark.parametrize("kind", ["blank", "noise", "inverted", "rotated"])
def test_digits_that_do_not_belong_are_seen(digits: Example, kind: str) -> None:
    rows = strange_digits(digits.test_rows)[kind]

    assert strange_share(digits.bundles[0], rows) >= 0.95


def test_breast_cancer_opens_reproduces_and_reaches_its_accuracy(
    breast_cancer: Example, trusted: TrustedKeys
) -> None:
    (bundle,) = breast_cancer.bundles

    assert open_bundle(bundle.path, trusted) == bundle
    check_golden(bundle, open_runtime(bundle))
    accuracy = float(np.mean(classes(bundle, breast_cancer) == breast_cancer.test_labels))
    assert accuracy >= (bundle.manifest.expectations.accuracy or 1) + 0.03
    assert breast_cancer.feature_names[0] == "mean_radius"
    assert strange_share(bundle, breast_cancer.test_rows) <= 0.1


def test_measurements_that_do_not_belong_are_seen(breast_cancer: Example) -> None:
    kinds = strange_measurements(breast_cancer.test_rows)

    assert set(kinds) == {"times 10", "NaN"}
    assert least_seen(breast_cancer.bundles[0], kinds) == 1


def test_the_benchmark_model_is_packed_with_every_guard(
    key: SigningKey, trusted: TrustedKeys, tmp_path: Path
) -> None:
    bundle = build_mlp(tmp_path, key)

    assert open_bundle(bundle.path, trusted) == bundle
    assert load_guards(bundle).outlier is not None
    check_golden(bundle, open_runtime(bundle))


def test_a_split_shares_no_row_and_loses_none() -> None:
    rows = np.arange(10.0).reshape(-1, 1)
    cut = split(rows, np.arange(10), train=5, held_out=3)
    parts = [cut.train, cut.held_out, cut.test]

    assert [len(labels) for _, labels in parts] == [5, 3, 2]
    assert sorted(int(label) for _, labels in parts for label in labels) == list(range(10))
    assert all((part[:, 0] == labels).all() for part, labels in parts)
