"""Which model a `ModelInferRequest` is for, read off the wire without parsing the rest."""

import re

from gateway.errors import UnknownModelError
from gateway.serving.outline import fields
from models.manifest import MODEL_NAME, RESERVED_NAMES, VERSION_NAME

NAME_SHOWN_MAX = 63  # of a name that no model can have

_MODEL_NAME, _MODEL_VERSION = 0x0A, 0x12  # tags: fields 1 and 2, both length-delimited

# Nothing else may enter the path of a URL.
_NAME = re.compile(MODEL_NAME)
_VERSION = re.compile(VERSION_NAME)


def read_model(message: bytes) -> tuple[str, str]:
    """Read ``model_name`` and ``model_version``; absent ones are empty, of several the last counts.

    Raises:
        BadRequestError: the bytes are no protobuf message, or have too many fields.
    """
    name = version = b""
    for tag, start, end in fields(message):
        if tag == _MODEL_NAME:
            name = message[start:end]
        elif tag == _MODEL_VERSION:
            version = message[start:end]
    return name.decode("utf-8", "replace"), version.decode("utf-8", "replace")


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
