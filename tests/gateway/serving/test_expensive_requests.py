"""Small bodies that ask for a great deal of work are refused before it is done."""

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest

from gateway.errors import BadRequestError, GatewayError, TooLargeError
from gateway.oip import inference_pb2 as pb
from gateway.serving.codec import STRINGS_MAX, decode_inputs
from gateway.serving.grpc_codec import parse_message
from gateway.serving.json_tensor import from_json
from gateway.serving.outline import FIELDS_MAX, NESTED_MAX
from gateway.serving.protocol import PARAMETERS_MAX, RANK_MAX, TENSORS_MAX
from gateway.serving.rest import parse_envelope
from models.manifest import Signature, TensorSpec

TEXT = TensorSpec(name="x", datatype="BYTES", shape=(-1, 1))
SIGNATURE = Signature(inputs=(TEXT,), outputs=(TEXT,))
JSON_MAX_BYTES = 8 << 20
SOON_S = 0.3  # of this process's time; the parser alone would take several times as long
_INPUT, _CONTENTS, _BYTES_CONTENTS = b"\x2a", b"\x2a", b"\x42"


def delimited(tag: bytes, content: bytes) -> bytes:
    """Write a field of protobuf by hand: what the library would write takes it too long."""
    size, left = bytearray(), len(content)
    while left >= 0x80:
        size.append(left & 0x7F | 0x80)
        left >>= 7
    return tag + bytes([*size, left]) + content


def of_text(strings: int, *, shape: tuple[int, ...]) -> bytes:
    """Ask about so many empty strings, as typed contents."""
    message = pb.ModelInferRequest(model_name="m")
    message.inputs.add(name="x", datatype="BYTES", shape=shape)
    contents = delimited(_CONTENTS, (_BYTES_CONTENTS + b"\0") * strings)
    tensor = message.inputs[0].SerializeToString()
    return b"\x0a\x01m" + delimited(_INPUT, tensor + contents)


def with_parameters(count: int) -> bytes:
    """Ask about one string, with so many parameters of its tensor."""
    entry = delimited(b"\x22", delimited(b"\x0a", b"%06d") + delimited(b"\x12", b"\x10\x01"))
    entries = b"".join(entry % number for number in range(count))
    return delimited(_INPUT, b"\x0a\x01x" + entries)


def refusal(parse: Callable[[], Any]) -> GatewayError:
    """Say how it was refused, which must not have taken long."""
    began_s = time.process_time()
    with pytest.raises(GatewayError) as caught:
        parse()
    assert time.process_time() - began_s < SOON_S
    return caught.value


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(delimited(_INPUT, b"") * (4 << 20), id="empty inputs"),
        pytest.param(b"\x22\x00" * (4 << 20), id="empty parameters"),
        pytest.param(with_parameters(300_000), id="parameters of a tensor"),
        pytest.param(delimited(_INPUT, b"\x18\x01" * (4 << 20)), id="dimensions"),
    ],
)
def test_more_fields_than_anybody_needs_are_refused_before_they_are_parsed(message: bytes) -> None:
    error = refusal(lambda: parse_message(message, SIGNATURE))

    assert error.code == "malformed_request"
    assert f"more than {FIELDS_MAX} fields" in str(error)


def test_tensors_have_no_more_fields_together_than_anybody_needs() -> None:
    tensor = delimited(_INPUT, b"\x18\x01" * (FIELDS_MAX - 1))

    error = refusal(lambda: parse_message(tensor * (FIELDS_MAX - 1), SIGNATURE))

    assert error.code == "malformed_request"
    assert f"more than {NESTED_MAX} fields" in str(error)


def test_as_many_tensors_and_parameters_as_are_answered_are_read() -> None:
    message = pb.ModelInferRequest(model_name="m")
    for number in range(TENSORS_MAX):
        for tensor in (message.inputs.add(), message.outputs.add()):
            tensor.name = f"x{number}"
            for parameter in range(PARAMETERS_MAX):
                tensor.parameters[f"p{parameter}"].bool_param = True
        message.inputs[-1].datatype = "FP32"
        message.inputs[-1].shape.extend([1] * RANK_MAX)
        message.inputs[-1].contents.fp32_contents.append(0.0)

    assert len(parse_message(message.SerializeToString(), SIGNATURE).inputs) == TENSORS_MAX


def test_what_is_not_a_raw_tensor_has_the_limit_of_json() -> None:
    over = delimited(_INPUT, delimited(_CONTENTS, b"\0" * JSON_MAX_BYTES))
    raw = pb.ModelInferRequest(model_name="m", raw_input_contents=[b"\0" * (JSON_MAX_BYTES + 9)])
    raw.inputs.add(name="x", datatype="BYTES", shape=(1, 1))

    assert isinstance(refusal(lambda: parse_message(over, SIGNATURE)), TooLargeError)
    assert len(parse_message(raw.SerializeToString(), SIGNATURE).parts["x"]) > JSON_MAX_BYTES


@pytest.mark.parametrize("shape", [(1, 1), (500_000, 1), (500_000, 2), (500_000,)])
def test_nothing_is_built_for_typed_strings_that_the_model_does_not_take(
    shape: tuple[int, ...],
) -> None:
    body = of_text(500_000, shape=shape)
    tracemalloc.start()
    with pytest.raises(BadRequestError):
        decode_inputs(parse_message(body, SIGNATURE), SIGNATURE)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most_bytes < 2 * len(body)


@pytest.mark.parametrize("over", ["json", "binary", "typed"])
def test_a_tensor_has_no_more_strings_than_the_loop_can_make(over: str) -> None:
    def parse(strings: int) -> int:
        shape = (strings, 1)
        tensor: dict[str, Any] = {"name": "x", "shape": shape, "datatype": "BYTES"}
        if over == "typed":
            envelope = parse_message(of_text(strings, shape=shape), SIGNATURE)
        elif over == "json":
            body = orjson.dumps({"inputs": [tensor | {"data": [""] * strings}]})
            envelope = parse_envelope(body, None, SIGNATURE)
        else:
            part = bytes(4 * strings)
            head = orjson.dumps(
                {"inputs": [tensor | {"parameters": {"binary_data_size": len(part)}}]}
            )
            envelope = parse_envelope(head + part, str(len(head)).encode(), SIGNATURE)
        return decode_inputs(envelope, SIGNATURE)[1]

    assert parse(1000) == 1000
    with pytest.raises(BadRequestError, match="strings") as caught:
        parse(STRINGS_MAX + 1)
    assert caught.value.code == "wrong_shape"


def test_a_message_has_few_parameters_over_either_wire() -> None:
    message = pb.ModelInferRequest()
    message.inputs.add(name="x", datatype="BYTES", shape=(1, 1)).contents.bytes_contents.append(b"")
    told = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "BYTES", "data": [""]}]}
    for count, is_taken in ((PARAMETERS_MAX, True), (PARAMETERS_MAX + 1, False)):
        parameters = {str(number): number for number in range(count)}
        for name in parameters:
            message.parameters[name].bool_param = True
        bodies = (message.SerializeToString(), orjson.dumps(told | {"parameters": parameters}))
        if is_taken:
            assert len(parse_message(bodies[0], SIGNATURE).parameters) == count
            assert len(parse_envelope(bodies[1], None, SIGNATURE).parameters) == count
            continue
        with pytest.raises(BadRequestError, match="at most 64 parameters"):
            parse_message(bodies[0], SIGNATURE)
        with pytest.raises(BadRequestError, match="length <= 64"):
            parse_envelope(bodies[1], None, SIGNATURE)


def test_json_over_its_limit_is_too_large_and_binary_of_that_size_is_not() -> None:
    number = TensorSpec(name="x", datatype="UINT8", shape=(-1, 1))
    numbers = Signature(inputs=(number,), outputs=(number,))
    rows = 5000
    told: dict[str, Any] = {"name": "x", "shape": [rows, 1], "datatype": "UINT8"}
    body = orjson.dumps({"inputs": [told | {"data": [0] * rows}]})
    head = orjson.dumps({"inputs": [told | {"parameters": {"binary_data_size": rows}}]})

    with pytest.raises(TooLargeError, match="JSON part is larger than 1024 bytes"):
        parse_envelope(body, None, numbers, max_json_bytes=1024)
    length = str(len(head)).encode()
    envelope = parse_envelope(head + bytes(rows), length, numbers, max_json_bytes=1024)
    assert decode_inputs(envelope, numbers)[1] == rows
    raw = parse_envelope(b"\1", b"0", numbers, max_json_bytes=0)
    np.testing.assert_array_equal(decode_inputs(raw, numbers)[0]["x"], [[1]])


def test_strings_that_are_too_many_for_their_shape_are_not_encoded() -> None:
    told = {"name": "x", "shape": [1, 1], "datatype": "BYTES", "data": [""] * 400_000}
    body = orjson.dumps({"inputs": [told]})
    [tensor] = parse_envelope(body, None, SIGNATURE).inputs

    error = refusal(lambda: from_json(tensor))

    assert error.code == "wrong_size"
