"""Broken requests without end, from a seed: JSON, parts, headers, encodings, bytes, paths."""

import gzip
import json
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from gateway.oip import MEDIA_TYPE
from gateway.oip import inference_pb2 as pb
from tests.fuzz.asgi import Sent
from tests.fuzz.faults import CANARY, bomb
from tests.fuzz.json_tree import mutate, text, tree
from tests.fuzz.lies import HEADER_LENGTH, LIES, S_DATA, X_DATA, Claim
from tests.fuzz.messages import MESSAGE_WAYS, MESSAGES

NUMBERS = (
    b"", b"0", b"-1", b"+1", b"1.5", b"1e3", b"x", b"\xb2", b"\xff", b"9" * 12, b"9" * 13,
    b"9" * 5000, b" 7 ", b"0x10", b"00000000000010", CANARY.encode(),
)  # fmt: skip
HEADERS = {
    HEADER_LENGTH: NUMBERS,
    b"content-length": NUMBERS,
    b"x-request-timeout-ms": NUMBERS,
    b"content-encoding": (b"br", b"gzip", b"deflate", b"gzip, gzip", b"", b"\xff", b"identity"),
    b"content-type": (b"", b"application/x-www-form-urlencoded", b"multipart/form-data", b"\xff"),
    b"x-request-id": (b"", b"\xff", b"a" * 200, b"a b", b"\x00", CANARY.encode()),
    b"traceparent": (b"", b"\xff", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01", b"-" * 55),
    b"tracestate": (b"\xff", b"a=" * 999, b"=,=,="),
}
SEGMENTS = (
    "..", ".", "", "%2e%2e", "%252e", "..%2f", "\\", "\x00", "∕", "CON", "\u202e", "\udcff",
    "versions", "infer", "ready", "feedback", "stats", "1", "9" * 300, "..%c0%af", "~", "*",
    "v2", "models", "pair", "{}", "${a}", "?", "#", ";", "%",
)  # fmt: skip
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "BREW", "get", "")
RIGHT = {
    "id": "a",
    "parameters": {"timeout": 1_000_000, "priority": 1, "binary_data_output": False},
    "inputs": [
        {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": X_DATA},
        {"name": "s", "shape": [2, 1], "datatype": "BYTES", "data": S_DATA, "parameters": {}},
    ],
    "outputs": [
        {"name": "y", "parameters": {"binary_data": True, "classification": 1}},
        {"name": "t", "parameters": {"binary_data": False}},
    ],
}
RIGHT_BODY = json.dumps(RIGHT).encode()
PACKED = (
    (b"gzip", gzip.compress(RIGHT_BODY)),
    (b"gzip", gzip.compress(gzip.compress(RIGHT_BODY))),
    (b"gzip", bomb(8 << 20)),
    (b"deflate", zlib.compress(RIGHT_BODY)),
    (b"deflate", zlib.compress(RIGHT_BODY, wbits=-15)),
)


def bad_requests(count: int, seed: int) -> Iterator[Sent]:
    """Give ``count`` requests, the same for the same seed; a few are right by accident."""
    rng = random.Random(seed)
    for _ in range(count):
        yield rng.choice(KINDS)(rng)


def json_mutation(rng: random.Random) -> Sent:
    """Break the JSON as JSON, in a few places."""
    root: Any = tree(RIGHT)
    for _ in range(rng.choice((1, 1, 2, 3))):
        mutate(root, rng)
    return Sent(text(root).encode("latin-1", "replace"))


def binary_lie(rng: random.Random) -> Sent:
    """Lie about the binary parts, in any number of places."""
    places = rng.sample([field.name for field in fields(Claim)], rng.randint(1, len(LIES)))
    claim = replace(Claim(), **{place: rng.choice(LIES[place]) for place in places})
    body, told = claim.message()
    return Sent(body, () if told is None else ((HEADER_LENGTH, told),))


def bad_header(rng: random.Random) -> Sent:
    """Put nonsense into headers, of a JSON or a binary request."""
    body, told = rng.choice(((RIGHT_BODY, None), Claim().message()))
    headers = [] if told is None else [(HEADER_LENGTH, told)]
    for name in rng.sample(list(HEADERS), rng.randint(1, 3)):
        headers.append((name, rng.choice(HEADERS[name])))
    return Sent(body, headers, chunk_bytes=rng.choice((1, 100, 1 << 30)))


def bad_encoding(rng: random.Random) -> Sent:
    """Compress a request, and break that."""
    encoding, packed = rng.choice(PACKED)
    return Sent(damage(packed, rng), ((b"content-encoding", encoding),))


def damaged_bytes(rng: random.Random) -> Sent:
    """Flip, cut, repeat and insert bytes of a right request."""
    body, told = rng.choice(((RIGHT_BODY, None), Claim().message()))
    return Sent(damage(body, rng), () if told is None else ((HEADER_LENGTH, told),))


def noise(rng: random.Random) -> Sent:
    """Send any bytes at all."""
    return Sent(rng.randbytes(rng.choice((0, 1, 7, 100, 5000))))


def damaged_message(rng: random.Random) -> Sent:
    """Break the bytes of a protobuf message, as the gRPC front hands it on, or what it says."""
    message = pb.ModelInferRequest.FromString(rng.choice(MESSAGES))
    for _ in range(rng.choice((0, 1, 1, 2))):
        rng.choice(MESSAGE_WAYS)(message, rng)
    body = message.SerializeToString()
    if rng.random() < 0.4:
        body = damage(body, rng)
    return Sent(body, ((b"content-type", MEDIA_TYPE.encode()),))


def bad_path(rng: random.Random) -> Sent:
    """Ask for a path that is not one, by any method."""
    root = rng.choice(("/v2/models/pair", "/v2/models/pair/versions", "/v2/models", ""))
    below = "/".join(rng.choice(SEGMENTS) for _ in range(rng.randint(1, 4)))
    path = root + rng.choice(("/", "//", "")) + below
    return Sent(RIGHT_BODY, path=path, method=rng.choice(METHODS))


def damage(body: bytes, rng: random.Random) -> bytes:
    """Break bytes in one to four places."""
    broken = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(broken) + 1)
        match rng.randrange(5):
            case 0:
                broken[at : at + 1] = rng.randbytes(1)
            case 1:
                del broken[at : at + rng.choice((1, 4, 1000))]
            case 2:
                broken[at:at] = rng.randbytes(rng.choice((1, 4, 50)))
            case 3:
                broken[at:at] = broken[at : at + rng.choice((1, 8, 64))]
            case 4:
                broken[at : at + 1] = rng.choice((b"[", b"{", b'"', b":", b",", b"\\", b"9" * 99))
    return bytes(broken)


KINDS: tuple[Callable[[random.Random], Sent], ...] = (
    json_mutation, json_mutation, json_mutation, binary_lie, bad_header, bad_encoding,
    damaged_bytes, damaged_bytes, damaged_message, damaged_message, noise, bad_path,
)  # fmt: skip
