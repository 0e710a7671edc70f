"""The same inputs have the same fingerprint, and no others do."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gateway.serving.fingerprint import Fingerprints
from models.bytes_tensor import as_elements

FINGERPRINTS = Fingerprints("m", key=b"secret")

words = st.lists(st.binary(max_size=3), min_size=1, max_size=4)
arrays = st.one_of(
    words.map(lambda elements: as_elements(elements, (len(elements), 1))),
    st.tuples(st.sampled_from(["<f4", "<i4", "<u2"]), st.binary(min_size=4, max_size=16)).map(
        lambda drawn: np.frombuffer(drawn[1][: len(drawn[1]) // 4 * 4], drawn[0])
    ),
)
inputs = st.dictionaries(st.text("ab:", min_size=1, max_size=3), arrays, min_size=1, max_size=3)
Inputs = dict[str, NDArray[Any]]


def meaning(given_inputs: Inputs) -> Any:
    """All that a model can tell apart."""
    return [(name, a.dtype.str, a.shape, a.tolist()) for name, a in given_inputs.items()]


@given(one=inputs, other=inputs)
def test_fingerprints_are_alike_exactly_where_the_inputs_are(one: Inputs, other: Inputs) -> None:
    is_same = repr(meaning(one)) == repr(meaning(other))
    assert (FINGERPRINTS.of(one) == FINGERPRINTS.of(other)) == is_same


@given(drawn=inputs)
def test_neither_another_key_nor_another_model_gives_the_same(drawn: Inputs) -> None:
    prints = {
        Fingerprints(model, key=key).of(drawn) for model in ("m", "n") for key in (b"k", b"l")
    }
    assert len(prints) == 4


def test_a_copy_in_another_layout_has_the_same_fingerprint() -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert FINGERPRINTS.of({"x": np.asfortranarray(rows)}) == FINGERPRINTS.of({"x": rows})
