"""An inference request and its answer as the protobuf messages of gRPC.

What comes out is the `Envelope` that JSON gives, with every tensor as a part: typed contents
are written as raw bytes first, so that one decoder judges all of them.

Source: Open Inference Protocol, ``open_inference_grpc.proto``.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from gateway.errors import BadRequestError
from gateway.oip import inference_pb2 as pb
from gateway.serving.codec import DATATYPES, STRINGS_MAX, to_bytes
from gateway.serving.outline import check_outline, malformed
from gateway.serving.protocol import (
    DIM_MAX,
    JSON_MAX_BYTES,
    PARAMETERS_MAX,
    RANK_MAX,
    TENSORS_MAX,
    TEXT_MAX,
    Envelope,
    Parameters,
    RequestedInput,
    RequestedOutput,
)
from models.bytes_tensor import as_elements
from models.manifest import DTYPES, Signature, TensorSpec

NUMBERS_MAX = 1 << 20  # of one tensor as typed contents: each is an object for a moment
DATATYPE_MAX = 16  # characters, as over REST
# Where the typed contents of a datatype lie; FP16 and BF16 have none.
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
# They say how REST lays tensors out; clients that speak both send them over gRPC too.
_OF_REST = frozenset({"binary_data", "binary_data_size", "binary_data_output"})


def parse_message(
    body: bytes, signature: Signature, *, max_around_bytes: int = JSON_MAX_BYTES
) -> Envelope:
    """Read a ``ModelInferRequest``; its model's name and version are the path's business.

    Args:
        body: The message.
        signature: Of the model asked; typed contents that it does not take are not read.
        max_around_bytes: Of all but the raw tensors.

    Raises:
        BadRequestError: it breaks the protocol; the sentence says where.
        TooLargeError: it is large without its raw tensors.
        UnsupportedError: it asks for sequences or shared memory.
    """
    check_outline(body, max_around_bytes=max_around_bytes)
    try:
        message = pb.ModelInferRequest.FromString(body)
    except DecodeError:
        raise malformed() from None
    if not 1 <= len(message.inputs) <= TENSORS_MAX:
        raise _malformed(f"inputs: 1 to {TENSORS_MAX} are needed, got {len(message.inputs)}")
    if len(message.outputs) > TENSORS_MAX:
        raise _malformed(f"outputs: at most {TENSORS_MAX}, got {len(message.outputs)}")
    inputs = tuple(_input(tensor, place) for place, tensor in enumerate(message.inputs))
    outputs = tuple(
        RequestedOutput(_text(asked.name, "outputs: name"), _parameters(asked.parameters))
        for asked in message.outputs
    )
    return Envelope(
        id=_text(message.id, "id") or None,
        parameters=_parameters(message.parameters),
        inputs=inputs,
        outputs=outputs,
        parts=_parts(message, signature),
    )


def _input(tensor: Any, place: int) -> RequestedInput:
    """Read what is announced; called by its place until its name is known to be the model's."""
    name = _text(tensor.name, "inputs: name")
    shape = tuple(tensor.shape)
    if not 1 <= len(shape) <= RANK_MAX or not all(0 <= size <= DIM_MAX for size in shape):
        problem = f"input {place}: a shape has 1 to {RANK_MAX} dimensions, each 0 to {DIM_MAX}"
        raise BadRequestError(problem, code="wrong_shape")
    if len(tensor.datatype) > DATATYPE_MAX:
        raise BadRequestError(f"input {place}: unknown datatype", code="wrong_datatype")
    return RequestedInput(name, shape, tensor.datatype, _parameters(tensor.parameters))


def _parts(message: Any, signature: Signature) -> dict[str, memoryview]:
    """Give the bytes of each input, by name."""
    raw = message.raw_input_contents
    if not raw:
        specs = {spec.name: spec for spec in signature.inputs}
        return {
            tensor.name: memoryview(_typed_part(tensor, place, specs.get(tensor.name)))
            for place, tensor in enumerate(message.inputs)
        }
    if any(tensor.HasField("contents") for tensor in message.inputs):
        problem = "give raw_input_contents for all inputs, or contents in each, not both"
        raise BadRequestError(problem, code="wrong_data")
    if len(raw) != len(message.inputs):
        problem = f"raw_input_contents has {len(raw)} parts, inputs are {len(message.inputs)}"
        raise BadRequestError(problem, code="wrong_size")
    return {tensor.name: memoryview(part) for tensor, part in zip(message.inputs, raw, strict=True)}


def _typed_part(tensor: Any, place: int, spec: TensorSpec | None) -> bytes:
    """Write typed contents as the binary extension has them.

    What ``spec`` does not take is empty: whoever compares the two has a better reason to refuse
    it, and nothing is built for it.

    Raises:
        BadRequestError: they are not of the datatype's kind, they are more or fewer than the
            shape needs, or a number does not fit.
    """
    if tensor.datatype not in DTYPES:
        return b""
    field = CONTENTS.get(tensor.datatype)
    if field is None:
        problem = f"input {place}: {tensor.datatype} goes in raw_input_contents only"
        raise BadRequestError(problem, code="wrong_data")
    if any(filled.name != field for filled, _ in tensor.contents.ListFields()):
        problem = f"input {place}: {tensor.datatype} goes in {field}, and in no other"
        raise BadRequestError(problem, code="wrong_data")
    values = getattr(tensor.contents, field)
    if not values or not _is_taken(tensor, spec):
        return b""
    wanted = math.prod(tensor.shape)
    if len(values) != wanted:
        problem = f"input {place}: {len(values)} elements came, the shape needs {wanted}"
        raise BadRequestError(problem, code="wrong_size")
    if tensor.datatype == "BYTES":
        return to_bytes(as_elements(values, (len(values),)))
    if wanted > NUMBERS_MAX:
        problem = f"input {place}: more than {NUMBERS_MAX} numbers go in raw_input_contents only"
        raise BadRequestError(problem, code="wrong_size")
    dtype = DTYPES[tensor.datatype]
    wide = np.dtype(f"{dtype.kind}{max(dtype.itemsize, 4)}") if dtype.kind in "iu" else dtype
    numbers = np.fromiter(values, wide, len(values))
    if wide != dtype and (numbers.astype(dtype) != numbers).any():
        problem = f"input {place}: a number does not fit {tensor.datatype}"
        raise BadRequestError(problem, code="wrong_data")
    return to_bytes(numbers.astype(dtype))


def _is_taken(tensor: Any, spec: TensorSpec | None) -> bool:
    """Whether a model with ``spec`` takes what is announced."""
    return (
        spec is not None
        and tensor.datatype == spec.datatype
        and tuple(tensor.shape[1:]) == spec.row_shape
        and (spec.datatype != "BYTES" or math.prod(tensor.shape) <= STRINGS_MAX)
    )


def _parameters(given: Mapping[str, Any]) -> Parameters:
    """Read a map of parameters of any kind.

    Raises:
        BadRequestError: they are too many, or one has no value or is too long.
    """
    if len(given) > PARAMETERS_MAX:
        problem = f"at most {PARAMETERS_MAX} parameters of a request or a tensor"
        raise BadRequestError(problem, code="bad_parameter")
    parameters: Parameters = {}
    for name, parameter in given.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is None:
            raise BadRequestError("a parameter has no value", code="bad_parameter")
        if name not in _OF_REST:
            value = getattr(parameter, choice)
            if choice == "string_param":
                _text(value, "parameters: value")
            parameters[_text(name, "parameters: name")] = value
    return parameters


def _text(text: str, where: str) -> str:
    if len(text) > TEXT_MAX:
        raise _malformed(f"{where} is longer than {TEXT_MAX} characters")
    return text


def _malformed(problem: str) -> BadRequestError:
    return BadRequestError(f"the request is malformed: {problem}", code="malformed_request")


def write_message(
    outputs: Mapping[str, NDArray[Any]],
    envelope: Envelope,
    parameters: Parameters,
    *,
    model: str,
    version: str,
) -> bytes:
    """Build a ``ModelInferResponse``; every output is raw, because tritonclient reads no other.

    Args:
        outputs: By name, in the order they go out; object arrays hold ``bytes`` (BYTES).
        envelope: The request, for its id.
        parameters: Provenance.
        model: Model name.
        version: Version that answered.
    """
    message = pb.ModelInferResponse(model_name=model, model_version=version, id=envelope.id or "")
    for name, value in parameters.items():
        _write_parameter(message.parameters[name], value)
    for name, array in outputs.items():
        message.outputs.add(name=name, datatype=DATATYPES[array.dtype], shape=array.shape)
        message.raw_output_contents.append(to_bytes(array))
    content: bytes = message.SerializeToString()
    return content


def _write_parameter(parameter: Any, value: str | float | bool) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        parameter.int64_param = value
    else:
        # KServe's client drops a double without a word.
        parameter.string_param = value if isinstance(value, str) else repr(value)
