"""Tensors survive the trip over the wire, as JSON and as raw bytes."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from gateway.errors import BadRequestError
from gateway.serving.codec import decode_inputs, encode_answer, to_bytes
from gateway.serving.rest import parse_envelope
from gateway.wire import decode_answer, encode_request
from models.manifest import DTYPES, Signature, TensorSpec

NO_JSON = {"FP16", "BF16"}


def arrays(*, over_json: bool) -> st.SearchStrategy[tuple[str, NDArray[Any]]]:
    """Draw a datatype and an array of it, 1 to 4 rows of up to 3 more dimensions."""

    def of(datatype: str) -> st.SearchStrategy[tuple[str, NDArray[Any]]]:
        shapes = npst.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)
        dtype = DTYPES[datatype]
        # hypothesis knows no BF16, but every bit pattern is one
        drawn = np.dtype(np.uint16) if datatype == "BF16" else dtype
        elements = None
        if datatype == "BYTES":
            elements = st.text(max_size=5).map(str.encode) if over_json else st.binary(max_size=5)
        elif dtype.kind == "f":
            elements = npst.from_dtype(dtype, allow_nan=not over_json, allow_infinity=not over_json)
        return npst.arrays(drawn, shapes, elements=elements).map(
            lambda array: (datatype, array.view(dtype) if datatype == "BF16" else array)
        )

    names = sorted(set(DTYPES) - NO_JSON) if over_json else sorted(DTYPES)
    return st.sampled_from(names).flatmap(of)


def signature(datatype: str, array: NDArray[Any]) -> Signature:
    spec = TensorSpec(name="x", datatype=datatype, shape=(-1, *array.shape[1:]))  # type: ignore[arg-type]
    return Signature(inputs=(spec,), outputs=(spec,))


@given(drawn=arrays(over_json=False))
def test_binary_tensors_arrive_bit_for_bit(drawn: tuple[str, NDArray[Any]]) -> None:
    datatype, array = drawn
    body, json_bytes = encode_request(
        {"x": array}, timeout_ms=None, outputs=(), binary=True, request_id=None
    )

    spec = signature(datatype, array)
    inputs, rows = decode_inputs(parse_envelope(body, str(json_bytes).encode(), spec), spec)

    assert rows == len(array)
    assert to_bytes(inputs["x"]) == to_bytes(array)


@given(drawn=arrays(over_json=True))
def test_json_tensors_arrive_with_every_digit(drawn: tuple[str, NDArray[Any]]) -> None:
    datatype, array = drawn
    body, _ = encode_request(
        {"x": array}, timeout_ms=None, outputs=(), binary=False, request_id=None
    )

    spec = signature(datatype, array)
    inputs, _ = decode_inputs(parse_envelope(body, None, spec), spec)

    np.testing.assert_array_equal(inputs["x"], array)
    assert inputs["x"].dtype == array.dtype


answers = st.booleans().flatmap(
    lambda binary: arrays(over_json=not binary).map(lambda drawn: (binary, drawn[1]))
)


@given(drawn=answers)
def test_answers_leave_as_they_are(drawn: tuple[bool, NDArray[Any]]) -> None:
    binary, array = drawn
    request = {
        "inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}],
        "parameters": {"binary_data_output": binary},
        "id": "a",
    }
    spec = TensorSpec(name="x", datatype="FP32", shape=(-1,))
    signed = Signature(inputs=(spec,), outputs=(spec,))
    envelope = parse_envelope(orjson.dumps(request), None, signed)

    body, json_bytes = encode_answer(
        {"x": array}, envelope, model="m", version="1", parameters={"prediction_id": "p"}
    )
    answer = decode_answer(body, None if json_bytes is None else str(json_bytes))

    assert to_bytes(answer.outputs["x"]) == to_bytes(array)
    assert (json_bytes is not None) == binary


LIES = [-1, 0, 1, 119, 121, 2**31, 2**62]


def test_sizes_of_thousands_of_digits_are_refused() -> None:
    most = "9" * 4300  # Python writes and reads no longer numbers
    tensor = '{"name": "%s", "shape": [1, 30], "datatype": "FP32", "parameters": {%s}}'
    tensors = ",".join(tensor % (name, f'"binary_data_size": {most}') for name in "xy")

    spec = TensorSpec(name="x", datatype="FP32", shape=(-1, 30))

    with pytest.raises(BadRequestError) as caught:
        parse_envelope(
            f'{{"inputs": [{tensors}]}}'.encode(), None, Signature(inputs=(spec,), outputs=(spec,))
        )

    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("rows", [-1, 0, 2, 2**31, 2**62])
@pytest.mark.parametrize("size", LIES)
@pytest.mark.parametrize("header", [b"0", b"-1", b"x", b"99999999999", b"", None])
def test_a_binary_request_that_lies_is_refused(rows: int, size: int, header: bytes | None) -> None:
    tensor = {
        "name": "x",
        "shape": [rows, 30],
        "datatype": "FP32",
        "parameters": {"binary_data_size": size},
    }
    head = orjson.dumps({"inputs": [tensor]})
    spec = TensorSpec(name="x", datatype="FP32", shape=(-1, 30))
    told = str(len(head)).encode() if header is None else header

    signed = Signature(inputs=(spec,), outputs=(spec,))

    with pytest.raises(BadRequestError):
        decode_inputs(parse_envelope(head + bytes(120), told, signed), signed)
