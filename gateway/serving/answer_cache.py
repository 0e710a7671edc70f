"""The last good answers of one version, by its inputs: bounded in number, in bytes and in age."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NS_PER_S = 1_000_000_000
MAX_BYTES = 64 << 20  # per version and replica; a million answers of some numbers need more
# Measured with tracemalloc: key, `_Kept`, dict and its place in the order take 430 bytes, an array
# 140 besides its data, a `bytes` object 33 and its rounding.
ENTRY_BYTES, ARRAY_BYTES, OBJECT_BYTES = 448, 144, 48


@dataclass(frozen=True, slots=True)
class _Kept:
    outputs: dict[str, NDArray[Any]]
    stored_ns: int
    size_bytes: int


class AnswerCache:
    """Forgets the least recently used first.  Mutable, without locks: one event loop only."""

    def __init__(
        self,
        *,
        entries: int,
        max_age_s: float,
        max_bytes: int = MAX_BYTES,
        now_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._entries = entries
        self._max_age_ns = int(max_age_s * NS_PER_S)
        self._max_bytes = max_bytes
        self._now_ns = now_ns
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()  # least recently used first
        self.size_bytes = 0

    def __len__(self) -> int:
        """Count the answers kept, however old."""
        return len(self._kept)

    def put(self, key: bytes, outputs: Mapping[str, NDArray[Any]]) -> None:
        """Keep a copy of ``outputs`` in place of any older answer; one too large is not kept.

        Args:
            key: Digest of the inputs.
            outputs: By name; may be views of a batch, which a cache must not keep alive.
        """
        self._forget(key)
        size_bytes = ENTRY_BYTES + sum(map(_size_bytes, outputs.values()))
        if size_bytes > self._max_bytes:
            return
        copies = {name: array.copy() for name, array in outputs.items()}
        self._kept[key] = _Kept(copies, self._now_ns(), size_bytes)
        self.size_bytes += size_bytes
        while len(self._kept) > self._entries or self.size_bytes > self._max_bytes:
            self._forget(next(iter(self._kept)))

    def get(self, key: bytes) -> tuple[dict[str, NDArray[Any]], int] | None:
        """Find the last answer to the same inputs, and its age in ns; None when it is too old."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        age_ns = self._now_ns() - kept.stored_ns
        if age_ns > self._max_age_ns:
            self._forget(key)
            return None
        self._kept.move_to_end(key)
        return kept.outputs, age_ns

    def _forget(self, key: bytes) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.size_bytes -= kept.size_bytes


def _size_bytes(array: NDArray[Any]) -> int:
    """Count what a copy takes; an array of BYTES is only pointers to what it holds."""
    held = 0
    if array.dtype == np.object_:
        held = sum(OBJECT_BYTES + len(value) for value in array.flat)
    return ARRAY_BYTES + array.nbytes + held
