"""The Open Inference Protocol v2 envelope: what a request says around its tensors.

Source: Open Inference Protocol, ``inference_rest.md``, and Triton's extensions on
parameters, sequences, shared memory, classification and binary tensor data.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.errors import BadRequestError, UnsupportedError

DIM_MAX = 2**31 - 1  # the protocol's shapes are int64, but no tensor within 64 MiB needs more
RANK_MAX = 16
TEXT_MAX = 4096  # characters of a name, an id or a parameter
TENSORS_MAX = 64  # more than any model here takes or gives; see CVE-2026-24146
PARAMETERS_MAX = 64  # of a request or of a tensor
JSON_MAX_BYTES = 8 << 20  # as `server.max_json_bytes`: about a second of one event loop

Text = Annotated[str, Meta(max_length=TEXT_MAX)]
Parameters = Annotated[dict[Text, Text | int | float | bool], Meta(max_length=PARAMETERS_MAX)]
Dimension = Annotated[int, Meta(ge=0, le=DIM_MAX)]
Shape = Annotated[tuple[Dimension, ...], Meta(min_length=1, max_length=RANK_MAX)]


class RequestedInput(msgspec.Struct, frozen=True, gc=False):
    """One input tensor as announced; nothing of its content has been looked at."""

    name: Text
    shape: Shape
    datatype: Annotated[str, Meta(max_length=16)]
    parameters: Parameters | None = None
    data: msgspec.Raw = msgspec.Raw()  # JSON text; empty where the tensor is a part


class RequestedOutput(msgspec.Struct, frozen=True, gc=False):
    """One output the client asked for."""

    name: Text
    parameters: Parameters | None = None


class Envelope:
    """A request around its tensors, checked in form but not yet against a model."""

    __slots__ = ("_binary_output", "id", "inputs", "outputs", "parameters", "parts")

    def __init__(
        self,
        *,
        id: str | None,
        parameters: Parameters,
        inputs: tuple[RequestedInput, ...],
        outputs: tuple[RequestedOutput, ...],
        parts: dict[str, memoryview],
    ) -> None:
        """Check what every transport must check.

        Args:
            id: The client's, echoed.
            parameters: Of the whole request.
            inputs: As announced; those without ``data`` are in ``parts``.
            outputs: As asked for, in the order they go out; empty: all of the model's.
            parts: Raw bytes of inputs, by name.

        Raises:
            BadRequestError: a name appears twice, or a parameter is not what it must be.
            UnsupportedError: it belongs to a sequence, or its tensors lie in shared memory.
        """
        self.id = id
        self.parameters = parameters
        self.inputs = inputs
        self.outputs = outputs
        self.parts = parts
        _refuse_twins("inputs", inputs)
        _refuse_twins("outputs", outputs)
        _check_request(parameters)
        announced: tuple[RequestedInput | RequestedOutput, ...] = (*inputs, *outputs)
        for tensor in announced:
            if tensor.parameters is not None and "shared_memory_region" in tensor.parameters:
                raise UnsupportedError("shared memory")
        self._binary_output = _flag(parameters, "binary_data_output", default=False)

    def wants_binary(self, output: str) -> bool:
        """Say whether ``output`` goes out as raw bytes.

        Raises:
            BadRequestError: the request says so in something else than a boolean.
        """
        asked = self._parameters_of(output)
        if asked is None:
            return self._binary_output
        return _flag(asked, "binary_data", default=self._binary_output)

    @property
    def priority(self) -> int:
        """Triton's parameter: 1 is the highest, larger is lower, 0 none was given."""
        return int(self.parameters.get("priority", 0))

    @property
    def may_explore(self) -> bool:
        """Our parameter ``explore``: false for a subject whose choice must not be randomised.

        Raises:
            BadRequestError: it is no boolean.
        """
        return _flag(self.parameters, "explore", default=True)

    def classes_of(self, output: str) -> int:
        """Say how many classes to name in place of the numbers of ``output``; 0: none.

        Raises:
            BadRequestError: the request asks for something else than a positive number of them.
        """
        asked = self._parameters_of(output)
        if asked is None or "classification" not in asked:
            return 0
        classes = asked["classification"]
        if type(classes) is not int or classes < 1:
            raise _bad_parameter("classification", "a positive integer")
        return classes

    def _parameters_of(self, output: str) -> Parameters | None:
        for asked in self.outputs:
            if asked.name == output:
                return asked.parameters
        return None


def _refuse_twins(
    where: str, tensors: tuple[RequestedInput, ...] | tuple[RequestedOutput, ...]
) -> None:
    if len(tensors) > 1 and len({tensor.name for tensor in tensors}) != len(tensors):
        raise BadRequestError(f"{where}: the same name appears twice", code="duplicate_name")


def _check_request(parameters: Parameters) -> None:
    """Refuse what would be answered wrongly if it were ignored, as unknown parameters are."""
    if any(parameters.get(f"sequence_{name}") for name in ("id", "start", "end")):
        raise UnsupportedError("sequences")
    priority = parameters.get("priority", 0)
    if type(priority) is not int or priority < 0:
        raise _bad_parameter("priority", "a non-negative integer")


def _flag(parameters: Parameters, name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise _bad_parameter(name, "a boolean")
    return value


def _bad_parameter(name: str, wanted: str) -> BadRequestError:
    return BadRequestError(f"parameter {name} must be {wanted}", code="bad_parameter")
