"""The model's name, read off the wire without a parser, is the one that the parser reads."""

from contextlib import suppress

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequestError, UnknownModelError
from gateway.front.route import model_path, read_model
from gateway.oip import inference_pb2 as pb
from gateway.serving.outline import FIELDS_MAX

texts = st.text(max_size=40)
requests = st.builds(
    pb.ModelInferRequest,
    model_name=texts,
    model_version=texts,
    id=texts,
    raw_input_contents=st.lists(st.binary(max_size=300), max_size=3),
    inputs=st.lists(
        st.builds(
            pb.ModelInferRequest.InferInputTensor,
            name=texts,
            shape=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
        ),
        max_size=3,
    ),
)


@given(requests)
def test_what_the_parser_wrote_is_read_back(request: pb.ModelInferRequest) -> None:
    assert read_model(request.SerializeToString()) == (request.model_name, request.model_version)


@given(st.lists(st.one_of(requests.map(lambda r: r.SerializeToString()), st.binary(max_size=20))))
def test_bytes_that_both_can_read_say_the_same_to_both(pieces: list[bytes]) -> None:
    # Messages that follow one another are one message, whose last name counts.
    message = b"".join(pieces)
    try:
        parsed = pb.ModelInferRequest.FromString(message)
        found = read_model(message)
    except (DecodeError, BadRequestError):
        return

    assert found == (parsed.model_name, parsed.model_version)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_name_or_the_clients_mistake(message: bytes) -> None:
    with suppress(BadRequestError):
        read_model(message)


@given(requests, st.data())
def test_a_message_that_was_cut_is_never_read_past_its_end(
    request: pb.ModelInferRequest, data: st.DataObject
) -> None:
    message = request.SerializeToString()
    cut = message[: data.draw(st.integers(0, len(message)))]
    try:
        pb.ModelInferRequest.FromString(cut)
    except DecodeError:
        return  # the parser may see more broken than the outline; never less

    assert read_model(cut)


def test_a_message_of_many_small_fields_is_refused() -> None:
    message = pb.ModelInferRequest(model_name="m", raw_input_contents=[b""] * FIELDS_MAX)

    with pytest.raises(BadRequestError, match="more than 1024 fields"):
        read_model(message.SerializeToString())


def test_a_number_of_more_than_ten_bytes_is_refused() -> None:
    with pytest.raises(BadRequestError):
        read_model(b"\x80" * 10 + b"\x01" + b"x")


@pytest.mark.parametrize(
    "name",
    ["", "..", "../x", "a/b", "a%2fb", "A", "a b", "a\r\nx: y", "é", "a\0", "stats", "a" * 64, "/"],
)
def test_no_name_but_a_models_gets_into_a_path(name: str) -> None:
    with pytest.raises(UnknownModelError):
        model_path(name)


@pytest.mark.parametrize("version", ["..", "1/infer", "1 ", "1\n", "é", "v" * 64])
def test_no_version_but_a_versions_gets_into_a_path(version: str) -> None:
    with pytest.raises(UnknownModelError):
        model_path("wine", version)


def test_a_path_names_the_model_and_the_version_if_there_is_one() -> None:
    assert model_path("wine") == "/v2/models/wine"
    assert model_path("wine", "1.0") == "/v2/models/wine/versions/1.0"
