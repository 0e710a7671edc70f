"""What a bundle keeps of held-out rows."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.held_out import MOST_ROWS, HeldOut, is_class, keep_held_out
from models.manifest import Signature


def signature(**answer: Any) -> Signature:
    return Signature.model_validate(
        {
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1], **answer}],
        }
    )


def rows(n: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2)).astype(np.float32)
    x[0, 0] = np.nan
    return {"x": x}, {"y": rng.random((n, 1)).astype(np.float32)}


def kept(spec: Signature, labels: np.ndarray) -> HeldOut | None:
    inputs, outputs = rows(len(labels))
    return keep_held_out(spec, inputs, outputs, labels, rng=np.random.default_rng(0))


def test_one_probability_is_kept_as_two_classes_and_labels_of_no_class_are_left_out() -> None:
    labels = np.array([0, 1, 1, 2, 0])

    found = kept(signature(role="probabilities"), labels)

    assert found is not None
    assert found.classes is not None
    np.testing.assert_allclose(found.classes.probabilities.sum(axis=1), 1)
    assert found.classes.labels.tolist() == [0, 1, 1, 0]
    assert found.classes.features is not None
    assert np.isfinite(found.classes.features).all()


def test_of_numbers_the_errors_are_kept_with_features_and_answer() -> None:
    _, outputs = rows(50)
    labels = np.zeros(50)

    found = kept(signature(role="value"), labels)

    assert found is not None
    assert found.errors is not None
    assert found.features is not None
    np.testing.assert_allclose(found.errors, outputs["y"][:, 0])
    assert found.features.shape == (50, 3)


def test_no_more_rows_are_kept_than_help() -> None:
    found = kept(signature(role="probabilities"), np.zeros(MOST_ROWS + 10, np.int64))

    assert found is not None
    assert found.classes is not None
    assert len(found.classes.labels) == MOST_ROWS


@pytest.mark.parametrize("role", ["probabilities", "value"])
def test_what_is_written_is_read_again(role: str) -> None:
    found = kept(signature(role=role), np.array([0, 1, 1, 0]))

    assert found is not None
    again = HeldOut.from_arrays(found.to_arrays())
    for name, array in found.to_arrays().items():
        np.testing.assert_array_equal(array, again.to_arrays()[name])


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="row"):
        HeldOut.from_arrays({"probabilities": np.zeros((3, 2)), "labels": np.zeros(2, np.int64)})


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=20))
def test_a_class_is_a_whole_number_below_the_number_of_classes(labels: list[float]) -> None:
    found = is_class(np.array(labels, np.float64), 3)

    assert found.tolist() == [label in (0.0, 1.0, 2.0) for label in labels]
