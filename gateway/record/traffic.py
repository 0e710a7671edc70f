"""What a replica has counted of its traffic so far: the other kind of record in the journal.

Totals, not increments: a record may be lost, repeated or read twice, and the next one repairs it.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np

from gateway.record.decision import Int64, Name
from guards.drift.cells import CELLS, Counts

_MAP = 0x80  # high bits of a msgpack map; a decision is an array


class TrafficRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counts of one version since it was loaded, by monitor."""

    model: Name
    version: Name
    digest: Name  # of the version's bundle
    epoch: Name  # of this load of the version, among those of the same writer
    values: Int64  # counted so far, over all monitors: never falls
    counts: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class TrafficTotal:
    """A record, with the journal's writer that it came from."""

    writer: str
    record: TrafficRecord


@dataclass(frozen=True, slots=True)
class DriftSignal:
    """What a monitor says now, for metrics."""

    model: str
    version: str
    monitor: str
    log_evidence: float
    log_threshold: float
    alarm: bool


class TrafficBook(Protocol):
    """Where totals are kept; `gateway.registry.drift.DriftStore` is it."""

    def enter(self, totals: Sequence[TrafficTotal]) -> None:
        """Keep each total, unless a later one of its source is known."""

    def signals(self) -> Sequence[DriftSignal]:
        """Say what the monitors make of them."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(TrafficRecord)


def encode_traffic(record: TrafficRecord) -> bytes:
    """Encode as msgpack."""
    return _encoder.encode(record)


def is_traffic(body: bytes) -> bool:
    """Tell the two kinds of record apart."""
    return bool(body) and body[0] & 0xF0 == _MAP


def decode_traffic(body: bytes) -> TrafficRecord:
    """Decode what `encode_traffic` wrote.

    Raises:
        msgspec.DecodeError: the bytes are no such record.
    """
    return _decoder.decode(body)


def pack_counts(counts: Counts) -> bytes:
    """Write counts of any number of channels; mostly zeros, so compressed."""
    return zlib.compress(counts.astype("<i8").tobytes(), 1)


def unpack_counts(packed: bytes) -> Counts:
    """Read what `pack_counts` wrote.

    Raises:
        ValueError: it is no table of counts.
    """
    try:
        return np.frombuffer(zlib.decompress(packed), "<i8").astype(np.int64).reshape(-1, CELLS)
    except zlib.error as error:
        raise ValueError("no counts") from error


def pack_all(counts: Mapping[str, Counts]) -> dict[str, bytes]:
    """Write the counts of every monitor."""
    return {monitor: pack_counts(counted) for monitor, counted in counts.items()}
