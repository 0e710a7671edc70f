"""Strings in the three forms they have: in memory, in a file, and for a model."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bytes_tensor import as_elements, from_fixed, to_elements, to_fixed, to_text
from models.errors import NotTextError


@given(st.lists(st.binary(max_size=8), max_size=12))
def test_elements_come_back_from_a_file_as_they_were(elements: list[bytes]) -> None:
    tensor = as_elements(elements, (len(elements),))

    np.testing.assert_array_equal(from_fixed(to_fixed(tensor)), tensor)


def test_a_file_of_elements_needs_no_pickle(tmp_path: Path) -> None:
    tensor = as_elements([b"a\0", b"", b"\xff" * 9, b"d"], (2, 2))
    np.savez(tmp_path / "strings.npz", allow_pickle=False, x=to_fixed(tensor))

    with np.load(tmp_path / "strings.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(from_fixed(arrays["x"]), tensor)


@pytest.mark.parametrize(
    "strings",
    [np.array([["é", "b"]]), np.array([["é".encode(), b"b"]]), np.array([["é", b"b"]], object)],
    ids=["U", "S", "object"],
)
def test_every_way_numpy_holds_strings_becomes_elements(strings: np.ndarray) -> None:
    assert to_elements(strings).tolist() == [["é".encode(), b"b"]]


def test_an_element_that_is_no_string_is_refused() -> None:
    with pytest.raises(TypeError, match="not int"):
        to_elements(np.array([1, b"a"], object))


def test_elements_are_decoded_in_their_places() -> None:
    tensor = as_elements(["é".encode(), b"b\0", b"", b"d"], (2, 2))

    assert to_text(tensor, "x").tolist() == [["é", "b\0"], ["", "d"]]


def test_bytes_that_are_no_text_are_named_by_their_row_and_not_quoted() -> None:
    tensor = as_elements([b"a"] * 5 + [b"secret\xff"], (3, 2))

    with pytest.raises(NotTextError) as caught:
        to_text(tensor, "x")
    assert caught.value.args == ("x", 2)
    assert caught.value.__cause__ is None
    assert "secret" not in str(caught.value)
