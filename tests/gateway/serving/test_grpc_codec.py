"""The same tensors are the same arrays, whether they came as JSON, binary or protobuf."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gateway.errors import BadRequestError, UnsupportedError
from gateway.oip import MEDIA_TYPE
from gateway.oip import inference_pb2 as pb
from gateway.serving.codec import decode_inputs, to_bytes
from gateway.serving.grpc_codec import CONTENTS, parse_message, write_message
from gateway.serving.protocol import RANK_MAX, TENSORS_MAX, Envelope
from gateway.serving.rest import parse_envelope
from gateway.wire import encode_request
from models.examples.example import Example
from models.manifest import DTYPES, Signature, TensorSpec
from tests.gateway.serving.conftest import Serve
from tests.gateway.serving.test_codec import arrays, signature

SPEC = TensorSpec(name="x", datatype="FP32", shape=(-1, 2))
FP32 = Signature(inputs=(SPEC,), outputs=(SPEC,))
ROWS = np.array([[1.0, 2.0]], np.float32)
Change = Callable[[Any], object]


def raw(datatype: str, array: NDArray[Any]) -> Any:
    """Build a request with the tensor's bytes."""
    message = pb.ModelInferRequest(model_name="m", raw_input_contents=[to_bytes(array)])
    message.inputs.add(name="x", datatype=datatype, shape=array.shape)
    return message


def typed(datatype: str, array: NDArray[Any]) -> Any:
    """Build a request with the tensor's values."""
    message = pb.ModelInferRequest(model_name="m")
    tensor = message.inputs.add(name="x", datatype=datatype, shape=array.shape)
    getattr(tensor.contents, CONTENTS[datatype]).extend(array.ravel().tolist())
    return message


def decoded(message: Any, spec: Signature) -> NDArray[Any]:
    found, rows = decode_inputs(parse_message(message.SerializeToString(), spec), spec)
    assert rows == found["x"].shape[0]
    return found["x"]


def same(found: NDArray[Any], wanted: NDArray[Any]) -> bool:
    return found.shape == wanted.shape and to_bytes(found) == to_bytes(wanted)


@given(drawn=arrays(over_json=False))
def test_raw_contents_arrive_bit_for_bit(drawn: tuple[str, NDArray[Any]]) -> None:
    datatype, array = drawn

    assert same(decoded(raw(datatype, array), signature(datatype, array)), array)


@given(drawn=arrays(over_json=True))
def test_json_binary_raw_and_typed_contents_are_the_same_array(
    drawn: tuple[str, NDArray[Any]],
) -> None:
    datatype, array = drawn
    spec = signature(datatype, array)
    over_rest = []
    for binary in (False, True):
        body, head = encode_request(
            {"x": array}, timeout_ms=None, outputs=(), binary=binary, request_id=None
        )
        length = None if head is None else str(head).encode()
        over_rest.append(decode_inputs(parse_envelope(body, length, spec), spec)[0]["x"])
    over_grpc = [decoded(form(datatype, array), spec) for form in (raw, typed)]

    assert all(same(found, over_rest[0]) for found in (*over_rest, *over_grpc))


@given(drawn=arrays(over_json=False))
def test_an_answer_is_read_back_bit_for_bit(drawn: tuple[str, NDArray[Any]]) -> None:
    datatype, array = drawn
    envelope = Envelope(id="a", parameters={}, inputs=(), outputs=(), parts={})
    told = {"flag": True, "count": 3, "word": "w", "share": 0.5}

    content = write_message({"y": array}, envelope, told, model="m", version="1")
    answer = pb.ModelInferResponse.FromString(content)

    assert (answer.model_name, answer.model_version, answer.id) == ("m", "1", "a")
    [output] = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("y", datatype, [*array.shape])
    assert list(answer.raw_output_contents) == [to_bytes(array)]
    kinds = {
        name: value.WhichOneof("parameter_choice") for name, value in answer.parameters.items()
    }
    # A share is text: KServe's client drops a double without a word.
    assert kinds == {
        "flag": "bool_param", "count": "int64_param", "word": "string_param",
        "share": "string_param",
    }  # fmt: skip
    assert answer.parameters["share"].string_param == "0.5"


def test_parameters_of_every_kind_are_read() -> None:
    message = raw("FP32", ROWS)
    message.parameters["flag"].bool_param = False
    message.parameters["priority"].uint64_param = 2
    message.parameters["timeout"].int64_param = 5
    message.parameters["word"].string_param = ""
    message.parameters["share"].double_param = 0.25
    message.parameters["binary_data_output"].bool_param = True  # of REST: it changes nothing
    message.inputs[0].parameters["binary_data_size"].int64_param = 3

    envelope = parse_message(message.SerializeToString(), FP32)

    assert envelope.parameters == {
        "flag": False, "priority": 2, "timeout": 5, "word": "", "share": 0.25,
    }  # fmt: skip
    assert envelope.inputs[0].parameters == {}


def wrong(code: str, change: Change, form: Any = raw) -> Any:
    return pytest.param(code, change, form)


LIES = {
    "a parameter without a value": wrong(
        "bad_parameter", lambda m: m.parameters["p"].SetInParent()
    ),
    "an empty map entry of an input": wrong(
        "bad_parameter", lambda m: m.inputs[0].parameters["p"].SetInParent()
    ),
    "a long parameter": wrong(
        "malformed_request", lambda m: setattr(m.parameters["p"], "string_param", "x" * 4097)
    ),
    "a long name": wrong("malformed_request", lambda m: setattr(m.inputs[0], "name", "x" * 4097)),
    "a long id": wrong("malformed_request", lambda m: setattr(m, "id", "x" * 4097)),
    "priority as text": wrong(
        "bad_parameter", lambda m: setattr(m.parameters["priority"], "string_param", "1")
    ),
    "no inputs": wrong("malformed_request", lambda m: m.ClearField("inputs")),
    "too many inputs": wrong(
        "malformed_request", lambda m: [m.inputs.add(name=str(n)) for n in range(TENSORS_MAX)]
    ),
    "too many outputs": wrong(
        "malformed_request", lambda m: [m.outputs.add(name=str(n)) for n in range(TENSORS_MAX + 1)]
    ),
    "an input twice": wrong(
        "duplicate_name",
        lambda m: (m.inputs.append(m.inputs[0]), m.raw_input_contents.append(b"\0" * 8)),
    ),
    "an output twice": wrong(
        "duplicate_name", lambda m: (m.outputs.add(name="x"), m.outputs.add(name="x"))
    ),
    "a part too many": wrong("wrong_size", lambda m: m.raw_input_contents.append(b"")),
    "a part cut short": wrong(
        "wrong_size", lambda m: m.raw_input_contents.__setitem__(0, b"\0" * 7)
    ),
    "raw and typed": wrong(
        "wrong_data", lambda m: m.inputs[0].contents.fp32_contents.append(1.0)
    ),
    "raw and empty typed": wrong("wrong_data", lambda m: m.inputs[0].contents.SetInParent()),
    "no contents at all": wrong("wrong_size", lambda m: m.ClearField("raw_input_contents")),
    "a negative dimension": wrong(
        "wrong_shape", lambda m: m.inputs[0].shape.__setitem__(0, -1)
    ),
    "a huge dimension": wrong(
        "wrong_shape", lambda m: m.inputs[0].shape.__setitem__(0, 2**62)
    ),
    "no dimension": wrong("wrong_shape", lambda m: m.inputs[0].ClearField("shape")),
    "too many dimensions": wrong(
        "wrong_shape", lambda m: m.inputs[0].shape.extend([1] * RANK_MAX)
    ),
    "an unknown datatype": wrong(
        "wrong_datatype", lambda m: setattr(m.inputs[0], "datatype", "FP31"), typed
    ),
    "a long datatype": wrong(
        "wrong_datatype", lambda m: setattr(m.inputs[0], "datatype", "F" * 17)
    ),
    "contents of another kind": wrong(
        "wrong_data", lambda m: m.inputs[0].contents.fp64_contents.append(1.0), typed
    ),
    "an element too few": wrong(
        "wrong_size", lambda m: m.inputs[0].contents.fp32_contents.pop(), typed
    ),
    "halves as typed contents": wrong(
        "wrong_data", lambda m: setattr(m.inputs[0], "datatype", "FP16"), typed
    ),
}  # fmt: skip


@pytest.mark.parametrize(("code", "change", "form"), LIES.values(), ids=LIES)
def test_a_lie_is_refused_with_its_own_code(code: str, change: Change, form: Any) -> None:
    message = form("FP32", ROWS)
    change(message)

    with pytest.raises(BadRequestError) as error:
        decoded(message, FP32)
    assert error.value.code == code


@pytest.mark.parametrize("datatype", ["INT8", "INT16", "UINT8", "UINT16"])
def test_a_number_that_does_not_fit_its_datatype_is_refused(datatype: str) -> None:
    limits = np.iinfo(DTYPES[datatype])
    for number in (limits.min, limits.max):
        array = np.array([[number]])
        assert decoded(typed(datatype, array), signature(datatype, array)) == array

    array = np.array([[limits.max + 1]])
    with pytest.raises(BadRequestError, match="does not fit"):
        decoded(typed(datatype, array), signature(datatype, array))


def test_shared_memory_and_sequences_are_not_supported() -> None:
    shared = raw("FP32", ROWS)
    shared.inputs[0].parameters["shared_memory_region"].string_param = "r"
    sequence = raw("FP32", ROWS)
    sequence.parameters["sequence_id"].int64_param = 1

    for message in (shared, sequence):
        with pytest.raises(UnsupportedError):
            parse_message(message.SerializeToString(), FP32)


@given(st.binary(max_size=300), st.integers(0, 60))
def test_any_bytes_are_a_request_or_a_mistake_of_the_client(noise: bytes, at: int) -> None:
    message = raw("FP32", ROWS).SerializeToString()
    for body in (noise, message[:at] + noise + message[at + len(noise) :]):
        with suppress(BadRequestError, UnsupportedError):
            decode_inputs(parse_message(body, FP32), FP32)


async def test_a_replica_answers_protobuf_with_protobuf(serve: Serve, cancer: Example) -> None:
    served = await serve(cancer.bundles[0])
    spec = cancer.bundles[0].manifest.signature.inputs[0]
    rows = np.zeros((3, *spec.row_shape), DTYPES[spec.datatype])
    message = raw(spec.datatype, rows)
    message.inputs[0].name = spec.name
    message.id = "7"

    answer: httpx.Response = await served.client.post(
        "/infer", content=message.SerializeToString(), headers={"content-type": MEDIA_TYPE}
    )

    assert answer.status_code == 200
    assert answer.headers["content-type"] == MEDIA_TYPE
    response = pb.ModelInferResponse.FromString(answer.content)
    assert response.id == "7"
    assert response.parameters["served_by"].string_param == "model"
    assert response.outputs[0].shape[0] == 3


async def test_a_replica_refuses_bad_protobuf_in_the_error_form(
    serve: Serve, cancer: Example
) -> None:
    served = await serve(cancer.bundles[0])

    answer = await served.client.post(
        "/infer", content=b"\xff\xff", headers={"content-type": MEDIA_TYPE}
    )

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["code"] == "malformed_request"
