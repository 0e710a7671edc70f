"""The Open Inference Protocol v2 envelope: what a request says around its tensors.

Source: Open Inference Protocol, ``inference_rest.md``, and Triton's binary tensor
data extension, ``extension_binary_data.md``.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from gateway.errors import BadRequestError

HEADER_LENGTH = b"inference-header-content-length"
DIM_MAX = 2**31 - 1  # the protocol's shapes are int64, but no tensor within 64 MiB needs more
RANK_MAX = 16
OUTPUTS_MAX = 64  # more requested outputs than any model here has; see CVE-2026-24146
PARAMETER_CHARS_MAX = 4096

Parameters = dict[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class RequestedInput:
    """One input tensor as announced; its numbers are still JSON or still bytes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[Any] | None  # None: binary
    binary_bytes: int  # length of its part of the binary section


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """One output the client asked for, and whether it wants raw bytes."""

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class Envelope:
    """A request's JSON part, checked in form but not yet against a model."""

    id: str | None
    parameters: Parameters
    inputs: tuple[RequestedInput, ...]
    outputs: tuple[RequestedOutput, ...]  # empty: all of the model's
    binary: bytes | memoryview
    binary_output: bool

    def wants_binary(self, output: str) -> bool:
        """Say whether ``output`` goes out as raw bytes."""
        return next((o.binary for o in self.outputs if o.name == output), self.binary_output)


def parse_envelope(body: bytes, header_length: bytes | None) -> Envelope:
    """Read the JSON part and cut off the binary part.

    Args:
        body: The whole body, already within the size limit.
        header_length: The `Inference-Header-Content-Length` header, if any.

    Raises:
        BadRequestError: the form breaks the protocol; the sentence says where.
    """
    json_part, binary = _split(body, header_length)
    try:
        message = orjson.loads(json_part)
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"the body is not valid JSON: {_where(error)}") from None
    if not isinstance(message, dict):
        raise BadRequestError("the body must be a JSON object")
    parameters = _parameters(message.get("parameters"), "parameters")
    binary_output = _flag(parameters, "binary_data_output", default=False)
    return Envelope(
        id=_id(message.get("id")),
        parameters=parameters,
        inputs=_inputs(message.get("inputs"), binary),
        outputs=_outputs(message.get("outputs"), default_binary=binary_output),
        binary=binary,
        binary_output=binary_output,
    )


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


def _where(error: orjson.JSONDecodeError) -> str:
    return f"at line {error.lineno}, column {error.colno}"


def _id(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > PARAMETER_CHARS_MAX:
        raise BadRequestError(f"id must be a string of at most {PARAMETER_CHARS_MAX} characters")
    return value


def _parameters(value: Any, where: str) -> Parameters:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequestError(f"{where} must be an object")
    for key, item in value.items():
        if not isinstance(item, str | int | float | bool):
            raise BadRequestError(f"{where}: every value must be a string, number or boolean")
        if len(key) > PARAMETER_CHARS_MAX or (
            isinstance(item, str) and len(item) > PARAMETER_CHARS_MAX
        ):
            raise BadRequestError(f"{where}: at most {PARAMETER_CHARS_MAX} characters each")
    return value


def _flag(parameters: Parameters, name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise BadRequestError(f"parameter {name} must be a boolean")
    return value


def _inputs(value: Any, binary: memoryview) -> tuple[RequestedInput, ...]:
    if not isinstance(value, list) or not value:
        raise BadRequestError("inputs must be a non-empty list")
    inputs = tuple(_input(item, f"inputs[{i}]") for i, item in enumerate(value))
    if len({tensor.name for tensor in inputs}) != len(inputs):
        raise BadRequestError("inputs: the same name appears twice")
    announced = sum(tensor.binary_bytes for tensor in inputs)
    if announced != len(binary):
        raise BadRequestError(
            f"binary_data_size of all inputs adds up to {announced} bytes, "
            f"but {len(binary)} bytes follow the JSON"
        )
    return inputs


def _input(item: Any, where: str) -> RequestedInput:
    if not isinstance(item, dict):
        raise BadRequestError(f"{where} must be an object")
    name, datatype, data = item.get("name"), item.get("datatype"), item.get("data")
    if not isinstance(name, str) or not name:
        raise BadRequestError(f"{where}: name must be a non-empty string")
    if not isinstance(datatype, str):
        raise BadRequestError(f"{where}: datatype must be a string")
    size = _parameters(item.get("parameters"), where).get("binary_data_size")
    if (size is None) == (data is None):
        raise BadRequestError(f"{where}: give either data or parameters.binary_data_size")
    if data is not None and not isinstance(data, list):
        raise BadRequestError(f"{where}: data must be a list")
    if size is not None and (type(size) is not int or size < 0):
        raise BadRequestError(f"{where}: binary_data_size must be a non-negative integer")
    return RequestedInput(name, datatype, _shape(item.get("shape"), where), data, int(size or 0))


def _shape(value: Any, where: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= RANK_MAX:
        raise BadRequestError(f"{where}: shape must be a list of 1 to {RANK_MAX} integers")
    if any(type(dim) is not int or not 0 <= dim <= DIM_MAX for dim in value):
        raise BadRequestError(f"{where}: every dimension must be an integer from 0 to {DIM_MAX}")
    return tuple(value)


def _outputs(value: Any, *, default_binary: bool) -> tuple[RequestedOutput, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > OUTPUTS_MAX:
        raise BadRequestError(f"outputs must be a list of at most {OUTPUTS_MAX}")
    outputs = []
    for i, item in enumerate(value):
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise BadRequestError(f"outputs[{i}] must be an object with a name")
        parameters = _parameters(item.get("parameters"), f"outputs[{i}]")
        binary = _flag(parameters, "binary_data", default=default_binary)
        outputs.append(RequestedOutput(item["name"], binary))
    if len({output.name for output in outputs}) != len(outputs):
        raise BadRequestError("outputs: the same name appears twice")
    return tuple(outputs)
