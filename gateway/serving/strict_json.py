"""What JSON leaves open and a gateway must not: keys that appear twice, and endless nesting.

Two readers of ``{"shape": [1], "shape": [9]}`` may see two different requests
(RFC 8259, section 4), so nobody's reading is right.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from gateway.errors import BadRequestError

DEPTH_MAX = 64
AROUND_MAX_BYTES = 1 << 20  # of JSON that is not tensors; it is read a second time, into objects

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # one level down, one level up


def check_keys(json_part: bytes, *, known: int, tensors: Iterable[bytes]) -> None:
    """Refuse keys that appear twice in one object, wherever it lies.

    Every key is followed by a colon.  So JSON with exactly as many colons as keys that were
    understood has no other key, neither unknown nor repeated: counting bytes settles the
    ordinary request, and only what lies around the tensors of others is read a second time.

    Args:
        json_part: Valid JSON.
        known: How many keys of it were understood.
        tensors: Those parts of it that are tensors, in their order; who decodes them checks them.

    Raises:
        BadRequestError: a key appears twice, or what is unknown is too long or nested too deep.
    """
    if json_part.count(b":") == known:
        return
    json_part = _without(json_part, tensors)
    if len(json_part) > AROUND_MAX_BYTES:
        problem = f"the JSON around the tensors is longer than {AROUND_MAX_BYTES} bytes"
        raise BadRequestError(problem, code="malformed_request")
    if depth(json_part) > DEPTH_MAX:
        problem = f"the body is nested deeper than {DEPTH_MAX} levels"
        raise BadRequestError(problem, code="too_deep")
    try:  # numbers stay text: nothing is computed from them, and Python refuses long ones
        json.loads(json_part, object_pairs_hook=_refuse_twins, parse_int=str, parse_float=str)
    except ValueError:  # msgspec does not look into the strings of what it skips
        raise BadRequestError("the body is not valid JSON", code="malformed_json") from None


def _without(json_part: bytes, tensors: Iterable[bytes]) -> bytes:
    """Put a number in place of each tensor, in one pass; they come in their order."""
    around: list[bytes] = []
    start = 0
    for tensor in tensors:
        found = json_part.index(tensor, start)
        around += (json_part[start:found], b"0")
        start = found + len(tensor)
    return b"".join((*around, json_part[start:]))


def depth(json_part: bytes) -> int:
    """Measure how deep JSON is nested, without recursion; brackets in its strings do not count."""
    brackets = _STRING.sub(b"", json_part).translate(_STEPS, delete=_NO_BRACKETS)
    return int(np.cumsum(np.frombuffer(brackets, np.int8), dtype=np.int64).max(initial=0))


def _refuse_twins(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        problem = "the body has an object in which a key appears twice"
        raise BadRequestError(problem, code="duplicate_key")
