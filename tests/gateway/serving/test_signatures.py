"""Any signature: right requests arrive over every wire, broken ones are refused with a reason."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gateway.errors import BadRequestError, TooLargeError, UnsupportedError
from gateway.serving.codec import decode_inputs, to_bytes
from gateway.serving.rest import parse_envelope
from models.bytes_tensor import as_elements
from models.manifest import DTYPES, Signature, TensorSpec

EXAMPLES = settings(max_examples=150, deadline=None, derandomize=True)
BINARY_ONLY = ("FP16", "BF16")
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=6).map(str.encode)


@dataclass(frozen=True)
class Asked:
    """A right request: what it asks, and which of its inputs go as binary parts."""

    signature: Signature
    arrays: dict[str, NDArray[Any]]
    binary: frozenset[str]

    def described(self) -> tuple[list[dict[str, Any]], bytes]:
        """Give its inputs as JSON has them, and the parts behind it."""
        tensors, parts = [], b""
        for spec in self.signature.inputs:
            array = self.arrays[spec.name]
            told = {"name": spec.name, "datatype": spec.datatype, "shape": list(array.shape)}
            if spec.name in self.binary:
                part = to_bytes(array)
                told["parameters"] = {"binary_data_size": len(part)}
                parts += part
            else:
                told["data"] = as_json(array)
            tensors.append(told)
        return tensors, parts


def as_json(array: NDArray[Any]) -> Any:
    """Write a tensor nested like its shape."""
    if array.dtype != object:
        return array.tolist()
    texts = np.array([item.decode() for item in array.ravel()], object)
    return texts.reshape(array.shape).tolist()


def values(datatype: str, shape: tuple[int, ...]) -> st.SearchStrategy[NDArray[Any]]:
    """Draw a tensor; of numbers every bit pattern that JSON could carry too."""
    size = int(np.prod(shape))
    if datatype == "BYTES":
        return st.lists(TEXT, min_size=size, max_size=size).map(lambda e: as_elements(e, shape))
    dtype = DTYPES[datatype]
    if datatype == "BOOL":
        bits = st.lists(st.booleans(), min_size=size, max_size=size)
        return bits.map(lambda drawn: np.array(drawn, bool).reshape(shape))
    raw = st.binary(min_size=size * dtype.itemsize, max_size=size * dtype.itemsize)
    arrays = raw.map(lambda drawn: np.frombuffer(drawn, dtype).reshape(shape))
    has_json = dtype.kind == "f" and datatype not in BINARY_ONLY
    return arrays.map(_finite) if has_json else arrays


def _finite(array: NDArray[Any]) -> NDArray[Any]:
    return np.where(np.isfinite(array), array, array.dtype.type(0))


@st.composite
def requests(draw: st.DrawFn) -> Asked:
    """Draw a signature, and a request that is right for it."""
    names = draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True))
    rows = draw(st.integers(1, 3))
    specs, arrays, binary = [], {}, set()
    for name in names:
        datatype = draw(st.sampled_from(sorted(DTYPES)))
        row_shape = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
        specs.append(TensorSpec(name=name, datatype=datatype, shape=(-1, *row_shape)))
        arrays[name] = draw(values(datatype, (rows, *row_shape)))
        if datatype in BINARY_ONLY or draw(st.booleans()):
            binary.add(name)
    output = TensorSpec(name="out", datatype="FP32", shape=(-1,))
    signature = Signature(inputs=tuple(specs), outputs=(output,))
    return Asked(signature, arrays, frozenset(binary))


def decode(tensors: Any, parts: bytes, signature: Signature) -> dict[str, NDArray[Any]]:
    head = json.dumps({"inputs": tensors}).encode()
    envelope = parse_envelope(head + parts, str(len(head)).encode() if parts else None, signature)
    return decode_inputs(envelope, signature)[0]


@EXAMPLES
@given(asked=requests())
def test_a_right_request_arrives_the_same_over_every_wire(asked: Asked) -> None:
    jsonable = {s.name for s in asked.signature.inputs if s.datatype not in BINARY_ONLY}
    for binary in (asked.binary, frozenset(asked.arrays), frozenset(asked.arrays) - jsonable):
        sent = replace(asked, binary=binary)

        arrays = decode(*sent.described(), asked.signature)

        assert list(arrays) == [spec.name for spec in asked.signature.inputs]
        for name, array in asked.arrays.items():
            assert arrays[name].dtype == array.dtype
            assert arrays[name].shape == array.shape
            assert to_bytes(arrays[name]) == to_bytes(array)


Mutation = Callable[[st.DataObject, list[dict[str, Any]], bytes], bytes]


def _drop(data: st.DataObject, tensors: list[dict[str, Any]], parts: bytes) -> bytes:
    tensor = data.draw(st.sampled_from(tensors))
    del tensor[data.draw(st.sampled_from(sorted(tensor)))]
    return parts


def _drop_tensor(data: st.DataObject, tensors: list[dict[str, Any]], parts: bytes) -> bytes:
    tensors.remove(data.draw(st.sampled_from(tensors)))
    return parts


def _double(data: st.DataObject, tensors: list[dict[str, Any]], parts: bytes) -> bytes:
    tensors.append(dict(data.draw(st.sampled_from(tensors))))
    return parts


def _rename(data: st.DataObject, tensors: list[dict[str, Any]], parts: bytes) -> bytes:
    data.draw(st.sampled_from(tensors))["name"] = data.draw(st.sampled_from(["a", "b", "", "z"]))
    return parts


def _retype(data: st.DataObject, tensors: list[dict[str, Any]], parts: bytes) -> bytes:
    datatype = data.draw(st.sampled_from([*DTYPES, "fp32", "TEXT"]))
    data.draw(st.sampled_from(tensors))["datatype"] = datatype
    return parts


def _reshape(data: st.DataObject, tensors: list[dict[str, Any]], parts: bytes) -> bytes:
    sizes = st.lists(st.sampled_from([-1, 0, 1, 2, 3, 2**31 - 1, 2**32, 2**62]), max_size=5)
    data.draw(st.sampled_from(tensors))["shape"] = data.draw(sizes)
    return parts


def _resize(data: st.DataObject, tensors: list[dict[str, Any]], parts: bytes) -> bytes:
    size = data.draw(st.one_of(st.integers(-1, 99), st.sampled_from([2**62, "8", 8.0, True])))
    data.draw(st.sampled_from(tensors))["parameters"] = {"binary_data_size": size}
    return parts


def _refill(data: st.DataObject, tensors: list[dict[str, Any]], parts: bytes) -> bytes:
    tensor = data.draw(st.sampled_from(tensors))
    item = data.draw(st.sampled_from([0, -1, 1.5, 300, 2**70, 1e39, True, None, "a", [], {}]))
    tensor["data"] = [item] * data.draw(st.sampled_from([0, 1, math.prod(tensor["shape"])]))
    tensor.pop("parameters", None)
    return parts


def _cut(data: st.DataObject, tensors: list[dict[str, Any]], parts: bytes) -> bytes:
    return parts[: data.draw(st.integers(0, len(parts)))]


def _lengthen(data: st.DataObject, tensors: list[dict[str, Any]], parts: bytes) -> bytes:
    return parts + data.draw(st.binary(min_size=1, max_size=9))


MUTATIONS: tuple[Mutation, ...] = (
    _drop, _drop_tensor, _double, _rename, _retype, _reshape, _resize, _refill, _cut, _lengthen,
)  # fmt: skip


@settings(EXAMPLES, max_examples=400)
@given(asked=requests(), mutation=st.sampled_from(MUTATIONS), data=st.data())
def test_a_broken_request_is_refused_with_a_reason_or_means_something(
    asked: Asked, mutation: Mutation, data: st.DataObject
) -> None:
    tensors, parts = asked.described()
    parts = mutation(data, tensors, parts)

    try:
        arrays = decode(tensors, parts, asked.signature)
    except (BadRequestError, UnsupportedError, TooLargeError):
        return

    for spec in asked.signature.inputs:
        assert arrays[spec.name].dtype == DTYPES[spec.datatype]
        assert arrays[spec.name].shape[1:] == spec.row_shape


INTEGERS = [name for name, dtype in DTYPES.items() if dtype.kind in "iu"]


@pytest.mark.parametrize("datatype", INTEGERS)
def test_a_number_just_outside_its_datatype_is_refused(datatype: str) -> None:
    spec = TensorSpec(name="x", datatype=datatype, shape=(-1,))  # type: ignore[arg-type]
    signature = Signature(inputs=(spec,), outputs=(spec,))
    limits = np.iinfo(DTYPES[datatype])
    tensor = {"name": "x", "datatype": datatype, "shape": [1]}

    for right in (int(limits.min), int(limits.max)):
        arrays = decode([{**tensor, "data": [right]}], b"", signature)
        assert arrays["x"].tolist() == [right]
    for wrong in (int(limits.min) - 1, int(limits.max) + 1):
        with pytest.raises(BadRequestError) as refused:
            decode([{**tensor, "data": [wrong]}], b"", signature)
        assert refused.value.code == "wrong_data"
