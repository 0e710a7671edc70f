"""One definition of what a model answered, for live, shadow and labels alike."""

from typing import Any

import numpy as np
import pytest

from models.manifest import Signature, TensorSpec
from models.prediction import answers_classes, predicted, text_number

IN = TensorSpec(name="x", datatype="FP32", shape=(-1, 3))


def _signature(role: Any, *shape: int, datatype: Any = "FP32") -> Signature:
    answer = TensorSpec(name="y", datatype=datatype, shape=(-1, *shape), role=role)
    return Signature(inputs=(IN,), outputs=(answer,))


@pytest.mark.parametrize("role", ["probabilities", "logits", "scores", None])
def test_the_largest_of_several_scores_names_the_class(role: Any) -> None:
    outputs = {"y": np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)}

    np.testing.assert_array_equal(predicted(outputs, _signature(role, 2)), [1.0, 0.0])
    assert answers_classes(_signature(role, 2))


@pytest.mark.parametrize(("role", "cut"), [("probabilities", 0.5), ("logits", 0.0)])
def test_one_number_of_a_binary_model_is_cut_in_the_middle(role: Any, cut: float) -> None:
    outputs = {"y": np.array([[cut - 0.1], [cut + 0.1]], np.float32)}

    np.testing.assert_array_equal(predicted(outputs, _signature(role, 1)), [0.0, 1.0])


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_single_value_is_the_prediction(shape: tuple[int, ...]) -> None:
    outputs = {"y": np.array([2.5, -1.0], np.float32).reshape(2, *shape)}

    np.testing.assert_array_equal(predicted(outputs, _signature("value", *shape)), [2.5, -1.0])
    assert not answers_classes(_signature("value", *shape))


def test_integers_without_a_role_are_classes() -> None:
    assert answers_classes(_signature(None, datatype="INT64"))
    assert not answers_classes(_signature(None, datatype="FP32"))


def test_several_values_in_a_row_agree_with_nothing() -> None:
    outputs = {"y": np.ones((2, 3), np.float32)}

    assert np.isnan(predicted(outputs, _signature("value", 3))).all()


def test_the_answer_is_the_first_output_with_a_role_that_answers() -> None:
    embedding = TensorSpec(name="e", datatype="FP32", shape=(-1, 4), role="embedding")
    answer = TensorSpec(name="y", datatype="FP32", shape=(-1, 2), role="probabilities")
    signature = Signature(inputs=(IN,), outputs=(embedding, answer))
    outputs = {"e": np.zeros((1, 4)), "y": np.array([[0.3, 0.7]])}

    np.testing.assert_array_equal(predicted(outputs, signature), [1.0])


def test_no_rows_give_no_predictions() -> None:
    assert predicted({"y": np.zeros((0, 2))}, _signature("scores", 2)).shape == (0,)


def test_a_text_is_one_number_that_only_the_same_text_has() -> None:
    rows = [[b"a", b"bc"], [b"ab", b"c"], [b"a", b"bc"]]
    numbers = predicted({"y": np.array(rows, object)}, _signature(None, 2, datatype="BYTES"))

    assert numbers[0] == numbers[2] != numbers[1]
    assert text_number(b"a", b"bc") == numbers[0] == int(numbers[0])
    assert answers_classes(_signature(None, 2, datatype="BYTES"))
