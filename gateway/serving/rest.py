"""An inference request over REST: JSON, JSON with raw tensors after it, or one raw tensor alone.

The form is declared as types; msgspec checks it in C while it parses, and says where it breaks.

Source: Open Inference Protocol, ``inference_rest.md``, and Triton's binary tensor
data extension, ``extension_binary_data.md``.
"""

import math
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.errors import BadRequestError, TooLargeError
from gateway.serving.protocol import (
    JSON_MAX_BYTES,
    TENSORS_MAX,
    Envelope,
    Parameters,
    RequestedInput,
    RequestedOutput,
    Text,
)
from gateway.serving.strict_json import check_keys
from models.bytes_tensor import LENGTH_BYTES
from models.manifest import Signature

SIZE_MAX = 2**63 - 1  # bytes; a number of thousands of digits is not even to be repeated
HEADER_LENGTH = b"inference-header-content-length"


class _Message(msgspec.Struct, frozen=True, gc=False):
    inputs: Annotated[tuple[RequestedInput, ...], Meta(min_length=1, max_length=TENSORS_MAX)]
    id: Text | None = None
    parameters: Parameters | None = None
    outputs: Annotated[tuple[RequestedOutput, ...], Meta(max_length=TENSORS_MAX)] | None = None


_decoder = msgspec.json.Decoder(_Message)


def parse_envelope(
    body: bytes,
    header_length: bytes | None,
    signature: Signature,
    *,
    max_json_bytes: int = JSON_MAX_BYTES,
) -> Envelope:
    """Read the JSON part and cut the binary part into its tensors.

    Args:
        body: The whole body, already within the size limit.
        header_length: The `Inference-Header-Content-Length` header, if any.
        signature: Of the model asked; a raw request says nothing about itself.
        max_json_bytes: Of the JSON part.

    Raises:
        BadRequestError: the form breaks the protocol; the sentence says where.
        TooLargeError: the JSON part is over its limit.
        UnsupportedError: it asks for sequences or shared memory.
    """
    json_bytes = len(body) if header_length is None else _json_bytes(body, header_length)
    if json_bytes == 0 and header_length is not None:
        return _raw_envelope(body, signature)
    if json_bytes > max_json_bytes:
        raise TooLargeError(max_json_bytes, "JSON part")
    json_part = body[:json_bytes]
    message = _decode(json_part)
    tensors = (bytes(tensor.data) for tensor in message.inputs if tensor.data)
    check_keys(json_part, known=_count_keys(message), tensors=tensors)
    return Envelope(
        id=message.id,
        parameters=message.parameters or {},
        inputs=message.inputs,
        outputs=message.outputs or (),
        parts=_cut(message.inputs, memoryview(body)[json_bytes:]),
    )


def _json_bytes(body: bytes, header_length: bytes) -> int:
    """Read how long the JSON part is."""
    if not header_length.isdigit() or len(header_length) > 12:
        problem = "Inference-Header-Content-Length must be a non-negative integer"
        raise BadRequestError(problem, code="bad_header_length")
    length = int(header_length)
    if length > len(body):
        problem = f"Inference-Header-Content-Length is {length}, the body has {len(body)} bytes"
        raise BadRequestError(problem, code="bad_header_length")
    return length


def _decode(json_part: bytes) -> _Message:
    try:
        return _decoder.decode(json_part)
    except msgspec.ValidationError as error:
        problem = f"the request is malformed: {error}"
        raise BadRequestError(problem, code="malformed_request") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequestError("the body is not valid JSON", code="malformed_json") from None
    except RecursionError:
        raise BadRequestError("the body is nested too deep", code="too_deep") from None


def _count_keys(message: _Message) -> int:
    """Count the keys of the JSON that were understood."""
    count = 1 + (message.id is not None) + (message.outputs is not None)
    if message.parameters is not None:
        count += 1 + len(message.parameters)
    for tensor in message.inputs:
        count += 4 if tensor.data else 3
        if tensor.parameters is not None:
            count += 1 + len(tensor.parameters)
    for output in message.outputs or ():
        count += 1
        if output.parameters is not None:
            count += 1 + len(output.parameters)
    return count


def _cut(inputs: tuple[RequestedInput, ...], binary: memoryview) -> dict[str, memoryview]:
    """Cut the binary section into the parts of the inputs that have no data, in their order."""
    parts = {}
    offset = 0
    for place, tensor in enumerate(inputs):
        size = _part_bytes(tensor, place)
        if size is not None:
            parts[tensor.name] = binary[offset : offset + size]
            offset += size
    if offset != len(binary):
        problem = (
            f"binary_data_size of all inputs adds up to {offset} bytes, "
            f"but {len(binary)} bytes follow the JSON"
        )
        raise BadRequestError(problem, code="wrong_size")
    return parts


def _part_bytes(tensor: RequestedInput, place: int) -> int | None:
    """Length of its part of the binary section; None: its content is JSON.

    Called by its place: its name is the client's until it is known to be the model's.
    """
    parameters = tensor.parameters or {}
    size = parameters.get("binary_data_size")
    if "shared_memory_region" in parameters:
        return None  # the envelope refuses it, with a better reason
    if (size is None) == (not tensor.data):
        problem = f"input {place}: give either data or binary_data_size"
        raise BadRequestError(problem, code="wrong_data")
    if size is not None and (type(size) is not int or not 0 <= size <= SIZE_MAX):
        problem = f"input {place}: binary_data_size must be an integer from 0 to {SIZE_MAX}"
        raise BadRequestError(problem, code="bad_parameter")
    return size


def _raw_envelope(body: bytes, signature: Signature) -> Envelope:
    """Read the body as the one row of the one input; every output goes out raw.

    Raises:
        BadRequestError: the model has several inputs, or its input several strings.
    """
    spec = signature.inputs[0]
    if len(signature.inputs) > 1:
        problem = "a raw binary request needs a model with exactly one input"
        raise BadRequestError(problem, code="missing_input")
    if spec.datatype == "BYTES":
        if math.prod(spec.row_shape) != 1:
            problem = "a raw binary request is one string, the model takes several in a row"
            raise BadRequestError(problem, code="wrong_shape")
        body = len(body).to_bytes(LENGTH_BYTES, "little") + body
    return Envelope(
        id=None,
        parameters={"binary_data_output": True},
        inputs=(RequestedInput(spec.name, (1, *spec.row_shape), spec.datatype),),
        outputs=(),
        parts={spec.name: memoryview(body)},
    )
