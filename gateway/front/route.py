"""Which model a `ModelInferRequest` is for, read off the wire without parsing the rest.

Source: protobuf's encoding, https://protobuf.dev/programming-guides/encoding.
"""

import re

from gateway.errors import BadRequestError, UnknownModelError
from models.manifest import RESERVED_NAMES

# At most 64 inputs, outputs and raw parts are answered, and few parameters; every field costs a
# step of the loop below, on the event loop that all calls share.
FIELDS_MAX = 1024
NAME_SHOWN_MAX = 63  # of a name that no model can have

_MODEL_NAME, _MODEL_VERSION = 0x0A, 0x12  # tags: fields 1 and 2, both length-delimited
_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5  # wire types; groups are gone from proto3
_VARINT_BYTES_MAX = 10

# As `models.manifest.ModelName` and `Version`: nothing else may enter the path of a URL.
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def read_model(message: bytes) -> tuple[str, str]:
    """Read ``model_name`` and ``model_version``; absent ones are empty, of several the last counts.

    Raises:
        BadRequestError: the bytes are no protobuf message, or have too many fields.
    """
    name = version = b""
    position, end = 0, len(message)
    for _ in range(FIELDS_MAX):
        if position == end:
            return name.decode("utf-8", "replace"), version.decode("utf-8", "replace")
        tag, position = _read_varint(message, position)
        start = position
        position = _skip(message, tag, start)
        if position > end:
            raise malformed()
        if tag == _MODEL_NAME:
            name = _content(message, start, position)
        elif tag == _MODEL_VERSION:
            version = _content(message, start, position)
    problem = f"the request has more than {FIELDS_MAX} fields"
    raise BadRequestError(problem, code="malformed_request")


def _skip(message: bytes, tag: int, position: int) -> int:
    """Find the end of a field's value, which may lie past the end of the message."""
    kind = tag & 7
    if kind == _DELIMITED:
        size, position = _read_varint(message, position)
        return position + size
    if kind == _VARINT:
        return _read_varint(message, position)[1]
    if kind == _FIXED64:
        return position + 8
    if kind == _FIXED32:
        return position + 4
    raise malformed()


def _content(message: bytes, start: int, end: int) -> bytes:
    return message[_read_varint(message, start)[1] : end]


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    """Read a base-128 number; return it, and where it ends."""
    value = 0
    for shift, byte in enumerate(message[position : position + _VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, position + shift + 1
    raise malformed()


def malformed() -> BadRequestError:
    """Say that the bytes are not the message that they should be."""
    return BadRequestError("the message is not valid protobuf", code="malformed_request")


def model_path(name: str, version: str = "") -> str:
    """Build the path of a model, or of one version of it, on the data plane.

    Raises:
        UnknownModelError: no model or version can have such a name.
    """
    if not _NAME.fullmatch(name) or name in RESERVED_NAMES:
        raise UnknownModelError(name[:NAME_SHOWN_MAX])
    if not version:
        return f"/v2/models/{name}"
    if not _VERSION.fullmatch(version):
        raise UnknownModelError(name, version[:NAME_SHOWN_MAX])
    return f"/v2/models/{name}/versions/{version}"
