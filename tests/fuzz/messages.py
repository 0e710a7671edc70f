"""Protobuf messages of gRPC that are right, and ways to break what they say."""

import random
from collections.abc import Callable
from typing import Any

from gateway.oip import inference_pb2 as pb
from tests.fuzz.faults import CANARY
from tests.fuzz.lies import S_DATA, S_PART, X_DATA, X_PART

DIMS = (0, 1, 3, -1, 2**31 - 1, 2**32, 2**62, -(2**63))
TEXTS = ("", CANARY, CANARY * 500, "x", "s", "y", "t", "\x00", "BYTES", "FP32", "FP16", "fp32")


def right_message(*, raw: bool) -> Any:
    """Ask `pair` for two rows, with raw or with typed contents."""
    message = pb.ModelInferRequest(model_name="pair", id="a")
    x = message.inputs.add(name="x", datatype="FP32", shape=[2, 2])
    s = message.inputs.add(name="s", datatype="BYTES", shape=[2, 1])
    if raw:
        message.raw_input_contents.extend([X_PART, S_PART])
    else:
        x.contents.fp32_contents.extend(X_DATA)
        s.contents.bytes_contents.extend(item.encode() for item in S_DATA)
    message.outputs.add(name="y")
    message.parameters["timeout"].int64_param = 1_000_000
    return message


MESSAGES = tuple(right_message(raw=raw).SerializeToString() for raw in (True, False))


def _rename(message: Any, rng: random.Random) -> None:
    rng.choice([*message.inputs, *message.outputs]).name = rng.choice(TEXTS)


def _retype(message: Any, rng: random.Random) -> None:
    rng.choice(message.inputs).datatype = rng.choice(TEXTS)


def _reshape(message: Any, rng: random.Random) -> None:
    shape = rng.choice(message.inputs).shape
    match rng.randrange(3):
        case 0:
            shape[0] = rng.choice(DIMS)
        case 1:
            shape.append(rng.choice(DIMS))
        case 2:
            shape.extend([1] * 17)


def _double(message: Any, rng: random.Random) -> None:
    many = rng.choice((1, 70))
    field = rng.choice((message.inputs, message.outputs, message.raw_input_contents))
    field.extend([field[0] if len(field) else b"a"] * many if field else [])


def _remove(message: Any, rng: random.Random) -> None:
    field = rng.choice((message.inputs, message.outputs, message.raw_input_contents))
    if len(field) > 1:
        del field[-1]


def _mix(message: Any, rng: random.Random) -> None:
    contents = rng.choice(message.inputs).contents
    match rng.randrange(4):
        case 0:
            contents.int_contents.extend([1, 2])
        case 1:
            contents.fp32_contents.extend([float("nan")] * rng.choice((1, 4)))
        case 2:
            contents.bytes_contents.append(b"\xff")
        case 3:
            message.raw_input_contents.append(b"")


def _parameter(message: Any, rng: random.Random) -> None:
    where = rng.choice([message, *message.inputs, *message.outputs]).parameters
    names = ("timeout", "priority", "sequence_id", "classification", "shared_memory_region", CANARY)
    parameter = where[rng.choice(names)]
    match rng.randrange(5):
        case 0:
            parameter.int64_param = rng.choice(DIMS)
        case 1:
            parameter.string_param = rng.choice(TEXTS)
        case 2:
            parameter.bool_param = True
        case 3:
            parameter.double_param = rng.choice((float("nan"), float("inf"), 1.5))
        case 4:
            parameter.uint64_param = 2**64 - 1


MESSAGE_WAYS: tuple[Callable[[Any, random.Random], None], ...] = (
    _rename, _retype, _reshape, _double, _remove, _mix, _parameter, _parameter,
)  # fmt: skip
