"""The Open Inference Protocol v2 envelope: what a request says around its tensors.

The form is declared as types; msgspec checks it in C while it parses, and says where it breaks.

Source: Open Inference Protocol, ``inference_rest.md``, and Triton's binary tensor
data extension, ``extension_binary_data.md``.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.errors import BadRequestError
from models.manifest import Signature

HEADER_LENGTH = b"inference-header-content-length"
DIM_MAX = 2**31 - 1  # the protocol's shapes are int64, but no tensor within 64 MiB needs more
RANK_MAX = 16
TENSORS_MAX = 64  # more than any model here takes or gives; see CVE-2026-24146

Text = Annotated[str, Meta(max_length=4096)]
Parameters = dict[Text, Text | int | float | bool]
Dimension = Annotated[int, Meta(ge=0, le=DIM_MAX)]
Shape = Annotated[tuple[Dimension, ...], Meta(min_length=1, max_length=RANK_MAX)]


class RequestedInput(msgspec.Struct, frozen=True, gc=False):
    """One input tensor as announced; its numbers are still JSON or still bytes."""

    name: Text
    shape: Shape
    datatype: Annotated[str, Meta(max_length=16)]
    parameters: Parameters | None = None
    data: list[Any] | None = None  # None: binary

    @property
    def binary_bytes(self) -> int:
        """Length of its part of the binary section.

        Raises:
            BadRequestError: it has both a part and data, or neither, or a part of no length.
        """
        size = None if self.parameters is None else self.parameters.get("binary_data_size")
        if (size is None) == (self.data is None):
            raise BadRequestError(f"input {self.name}: give either data or binary_data_size")
        if size is None:
            return 0
        if type(size) is not int or size < 0:
            raise BadRequestError(f"input {self.name}: binary_data_size must be at least 0")
        return size


class RequestedOutput(msgspec.Struct, frozen=True, gc=False):
    """One output the client asked for."""

    name: Text
    parameters: Parameters | None = None


class _Message(msgspec.Struct, frozen=True, gc=False):
    inputs: Annotated[tuple[RequestedInput, ...], Meta(min_length=1, max_length=TENSORS_MAX)]
    id: Text | None = None
    parameters: Parameters | None = None
    outputs: Annotated[tuple[RequestedOutput, ...], Meta(max_length=TENSORS_MAX)] | None = None


_decoder = msgspec.json.Decoder(_Message)


class Envelope:
    """A request's JSON part, checked in form but not yet against a model."""

    __slots__ = ("_binary_output", "binary", "id", "inputs", "outputs", "parameters")

    def __init__(self, message: _Message, binary: memoryview) -> None:
        self.id = message.id
        self.parameters: Parameters = message.parameters or {}
        self.inputs = message.inputs
        self.outputs = message.outputs or ()  # empty: all of the model's
        self.binary = binary
        self._binary_output = _flag(self.parameters, "binary_data_output", default=False)

    def wants_binary(self, output: str) -> bool:
        """Say whether ``output`` goes out as raw bytes.

        Raises:
            BadRequestError: the request says so in something else than a boolean.
        """
        for asked in self.outputs:
            if asked.name == output and asked.parameters is not None:
                return _flag(asked.parameters, "binary_data", default=self._binary_output)
        return self._binary_output


def parse_envelope(body: bytes, header_length: bytes | None, signature: Signature) -> Envelope:
    """Read the JSON part and cut off the binary part.

    Args:
        body: The whole body, already within the size limit.
        header_length: The `Inference-Header-Content-Length` header, if any.
        signature: Of the model asked; a raw request says nothing about itself.

    Raises:
        BadRequestError: the form breaks the protocol; the sentence says where.
    """
    json_part, binary = _split(body, header_length)
    try:
        message = _decoder.decode(json_part)
    except msgspec.ValidationError as error:
        raise BadRequestError(f"the request is malformed: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequestError("the body is not valid JSON") from None
    except RecursionError:
        raise BadRequestError("the body is nested too deep") from None
    _refuse_twins("inputs", message.inputs)
    if message.outputs is not None:
        _refuse_twins("outputs", message.outputs)
    return Envelope(message, binary)


def _split(body: bytes, header_length: bytes | None) -> tuple[bytes | memoryview, memoryview]:
    view = memoryview(body)
    if header_length is None:
        return body, view[len(body) :]
    if not header_length.isdigit() or len(header_length) > 12:
        raise BadRequestError("Inference-Header-Content-Length must be a non-negative integer")
    length = int(header_length)
    if length == 0 or length > len(body):
        raise BadRequestError(
            f"Inference-Header-Content-Length is {length}, but the body has {len(body)} bytes"
        )
    return view[:length], view[length:]


def _refuse_twins(
    where: str, tensors: tuple[RequestedInput, ...] | tuple[RequestedOutput, ...]
) -> None:
    if len(tensors) > 1 and len({tensor.name for tensor in tensors}) != len(tensors):
        raise BadRequestError(f"{where}: the same name appears twice")


def _flag(parameters: Parameters, name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise BadRequestError(f"parameter {name} must be a boolean")
    return value
