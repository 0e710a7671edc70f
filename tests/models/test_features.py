import numpy as np
import pytest

from models.features import feature_names, feature_rows, tensor_columns
from models.manifest import Signature, TensorSpec
from models.runtime.protocol import Tensors

OUTPUTS = (TensorSpec(name="y", datatype="FP32", shape=(-1, 1)),)


def signature(*inputs: TensorSpec) -> Signature:
    return Signature(inputs=inputs, outputs=OUTPUTS)


ONE = signature(TensorSpec(name="x", datatype="FP32", shape=(-1, 3)))
MIXED = signature(
    TensorSpec(name="age", datatype="INT64", shape=(-1,)),
    TensorSpec(name="image", datatype="UINT8", shape=(-1, 2, 2)),
    TensorSpec(name="member", datatype="BOOL", shape=(-1, 1)),
)


def test_one_float32_input_is_not_copied() -> None:
    rows = np.ones((4, 3), np.float32)

    assert feature_rows({"x": rows}, ONE) is rows


def test_inputs_lie_side_by_side_in_the_order_of_the_signature() -> None:
    rows = feature_rows(
        {
            "image": np.array([[[1, 2], [3, 255]]], np.uint8),
            "member": np.array([[True]]),
            "age": np.array([41]),
        },
        MIXED,
    )

    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, [[41, 1, 2, 3, 255, 1]])


def test_rows_are_contiguous_whatever_came() -> None:
    turned = np.ones((3, 4), np.float64).T

    rows = feature_rows({"x": turned}, ONE)

    assert rows.shape == (4, 3)
    assert rows.dtype == np.float32
    assert rows.flags.c_contiguous


@pytest.mark.parametrize("count", [0, 1])
def test_every_number_of_rows_has_the_full_width(count: int) -> None:
    inputs: Tensors = {
        "age": np.zeros(count, np.int64),
        "image": np.zeros((count, 2, 2), np.uint8),
        "member": np.zeros((count, 1), bool),
    }

    assert feature_rows(inputs, MIXED).shape == (count, 6)


def test_columns_are_named_after_their_tensors() -> None:
    assert feature_names(MIXED) == (
        "age", "image[0]", "image[1]", "image[2]", "image[3]", "member",
    )  # fmt: skip


def test_given_names_are_kept_and_must_be_one_per_column() -> None:
    assert feature_names(ONE, ["a", "b", "c"]) == ("a", "b", "c")
    with pytest.raises(ValueError, match="2 feature names given for 3 features"):
        feature_names(ONE, ["a", "b"])


def test_the_columns_of_a_tensor_are_where_its_values_went() -> None:
    age, image, member = tensor_columns(MIXED)
    names = feature_names(MIXED)

    assert (age, image, member) == (slice(0, 1), slice(1, 5), slice(5, 6))
    assert names[image] == tuple(f"image[{pixel}]" for pixel in range(4))


TEXT = TensorSpec(name="text", datatype="BYTES", shape=(-1, 2))


def test_strings_are_no_features() -> None:
    strings = np.array([[b"a", b"b"]], object)
    mixed = signature(TEXT, *ONE.inputs)

    rows = feature_rows({"text": strings, "x": np.ones((1, 3), np.float32)}, mixed)

    assert rows.tolist() == [[1, 1, 1]]
    assert feature_names(mixed) == feature_names(ONE)
    assert tensor_columns(mixed) == tensor_columns(ONE)
    assert feature_rows({"text": strings}, signature(TEXT)).shape == (1, 0)
