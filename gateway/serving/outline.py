"""The fields of a protobuf message, read off the wire without parsing it.

The parser makes an object of every field, and a field may be two bytes: what is too many of
them is refused here, before it costs anything.

Source: protobuf's encoding, https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator

from gateway.errors import BadRequestError, TooLargeError

# At most 64 inputs, outputs, raw parts and parameters are answered; every field costs a step of
# the loop below, on the event loop that all requests share.
FIELDS_MAX = 1024
# In all tensors together: 64 inputs and 64 outputs with 64 parameters each are within it.
NESTED_MAX = 10 * FIELDS_MAX

# Tags: fields 5, 6 and 7 of `ModelInferRequest`, all length-delimited.
_INPUT, _OUTPUT, _RAW_PART = 0x2A, 0x32, 0x3A
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5  # wire types; groups are gone from proto3
_VARINT_BYTES_MAX = 10


def fields(message: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    """Give the tag of each field, and where its content begins and ends.

    Raises:
        BadRequestError: the bytes are no protobuf message, or have more than `FIELDS_MAX` fields.
    """
    position, end = 0, len(message)
    for _ in range(FIELDS_MAX):
        if position == end:
            return
        tag, position = _read_varint(message, position)
        start, position = _content(message, tag, position)
        if position > end:
            raise malformed()
        yield tag, start, position
    problem = f"the request has more than {FIELDS_MAX} fields"
    raise BadRequestError(problem, code="malformed_request")


def check_outline(message: bytes, *, max_around_bytes: int) -> None:
    """Refuse a `ModelInferRequest` that would be a great deal of work to parse.

    Args:
        message: Whole.
        max_around_bytes: Of all that is not raw tensors: what the parser makes objects of.

    Raises:
        BadRequestError: it is no message, or it or its tensors have too many fields.
        TooLargeError: the raw tensors are not what makes it large.
    """
    view = memoryview(message)
    around_bytes, nested = len(message), 0
    for tag, start, end in fields(message):
        if tag == _RAW_PART:
            around_bytes -= end - start
        elif tag in (_INPUT, _OUTPUT):
            for _ in fields(view[start:end]):
                nested += 1
                if nested > NESTED_MAX:
                    problem = f"the tensors of the request have more than {NESTED_MAX} fields"
                    raise BadRequestError(problem, code="malformed_request")
    if around_bytes > max_around_bytes:
        raise TooLargeError(max_around_bytes, "message without its raw_input_contents")


def malformed() -> BadRequestError:
    """Say that the bytes are not the message that they should be."""
    return BadRequestError("the message is not valid protobuf", code="malformed_request")


def _content(message: bytes | memoryview, tag: int, position: int) -> tuple[int, int]:
    """Find where a field's content begins and ends, which may be past the end of the message."""
    kind = tag & 7
    if kind == _DELIMITED:
        size, position = _read_varint(message, position)
        return position, position + size
    if kind == _VARINT:
        return position, _read_varint(message, position)[1]
    if kind == _FIXED64:
        return position, position + 8
    if kind == _FIXED32:
        return position, position + 4
    raise malformed()


def _read_varint(message: bytes | memoryview, position: int) -> tuple[int, int]:
    """Read a base-128 number; return it, and where it ends."""
    value = 0
    for shift, byte in enumerate(message[position : position + _VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, position + shift + 1
    raise malformed()
