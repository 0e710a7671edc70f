"""Binary requests that lie in up to three places, and an oracle that says which of them are true.

Source: Triton's ``extension_binary_data.md``; the oracle is written from it alone.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

HEADER_LENGTH = b"inference-header-content-length"
X_PART = bytes(range(16))  # FP32, shape [2, 2]: 16 bytes
S_PART = b"\x02\0\0\0ab\x01\0\0\0c"  # BYTES, shape [2, 1]: 11 bytes
X_DATA, S_DATA = [1, 2, 3, 4], ["ab", "c"]


@dataclass(frozen=True)
class Claim:
    """What a request says about itself, and the bytes that really follow its JSON."""

    x_size: Any = 16
    s_size: Any = 11
    x_shape: Any = (2, 2)
    s_shape: Any = (2, 1)
    x_datatype: Any = "FP32"
    s_datatype: Any = "BYTES"
    x_data: Any = None
    s_data: Any = None
    header_shift: int | bytes | None = 0  # added to the true length; bytes or None: in its place
    tail: bytes = X_PART + S_PART

    def message(self) -> tuple[bytes, bytes | None]:
        """Write it down: the body, and the header that tells where its JSON ends."""
        inputs = [
            _tensor("x", self.x_shape, self.x_datatype, self.x_size, self.x_data),
            _tensor("s", self.s_shape, self.s_datatype, self.s_size, self.s_data),
        ]
        head = json.dumps({"inputs": inputs}).encode()
        told = self.header_shift
        if isinstance(told, int):
            told = b"%d" % max(len(head) + told, 0)
        return head + self.tail, told


LIES: dict[str, tuple[Any, ...]] = {
    "x_size": (None, 0, 15, 17, 27, 8, -16, 2**63, "16", 16.0, True),
    "s_size": (None, 0, 10, 12, 6, -11, 2**63, "11", False),
    "x_shape": ((1, 2), (2, 1), (4,), (2, 2, 1), (-2, -2), (0, 2), (2**32, 2**32), (2, 2**62)),
    "s_shape": ((1, 1), (3, 1), (2,), (2, 2), (-1, 1), (0, 1), (2**31 - 1, 1), (True, 1)),
    "x_datatype": ("FP64", "INT32", "BYTES", "fp32", ""),
    "s_datatype": ("FP32", "UINT8", "bytes", "TEXT"),
    "x_data": (X_DATA, [], [1, 2, 3], ["a"] * 4),
    "s_data": (S_DATA, [], ["ab"], [1, 2]),
    "header_shift": (None, -1, 1, -(10**6), 10**11, b"x", b"-1", b"1.0", b""),
    "tail": (b"", X_PART, S_PART, X_PART + S_PART[:-1], X_PART + S_PART + b"!", S_PART + X_PART),
}


def claims(most: int) -> Iterator[Claim]:
    """Give the truth, and every combination of lies in up to ``most`` places."""
    for count in range(most + 1):
        for places in combinations(LIES, count):
            for lies in product(*(LIES[place] for place in places)):
                yield replace(Claim(), **dict(zip(places, lies, strict=True)))


def is_true(claim: Claim) -> bool:
    """Whether a request means something after all: two lies may agree with each other."""
    shift = claim.header_shift
    has_no_tail = shift is None and claim.tail == b""
    if not (has_no_tail or (type(shift) is int and shift == 0)):
        return False
    if (claim.x_datatype, claim.s_datatype) != ("FP32", "BYTES"):
        return False
    rows = claim.x_shape[0]
    if claim.x_shape != (rows, 2) or claim.s_shape != (rows, 1) or type(rows) is not int:
        return False
    if rows < 1 or any(type(dim) is not int for dim in claim.s_shape):
        return False
    x_part, rest = _split(claim.tail, claim.x_size)
    s_part, rest = _split(rest, claim.s_size)
    return (
        rest == b""
        and _holds_numbers(x_part, claim.x_data, math.prod(claim.x_shape))
        and _holds_strings(s_part, claim.s_data, rows)
    )


def _split(tail: bytes, size: Any) -> tuple[bytes | None, bytes]:
    if size is None:
        return None, tail
    if type(size) is not int or not 0 <= size <= len(tail):
        return None, b"a size that lies"
    return tail[:size], tail[size:]


def _holds_numbers(part: bytes | None, data: Any, count: int) -> bool:
    if (part is None) == (data is None):
        return False
    if part is not None:
        return len(part) == 4 * count
    return len(data) == count and all(isinstance(item, int) for item in data)


def _holds_strings(part: bytes | None, data: Any, count: int) -> bool:
    if (part is None) == (data is None):
        return False
    if part is None:
        return len(data) == count and all(isinstance(item, str) for item in data)
    found, at = 0, 0
    while at < len(part):
        length = part[at : at + 4]
        at += 4 + int.from_bytes(length, "little")
        found += 1
        if len(length) < 4:
            return False
    return at == len(part) and found == count


def _tensor(name: str, shape: Any, datatype: Any, size: Any, data: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"name": name, "shape": shape, "datatype": datatype}
    if size is not None:
        told["parameters"] = {"binary_data_size": size}
    if data is not None:
        told["data"] = data
    return told
