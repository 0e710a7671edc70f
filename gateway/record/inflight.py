"""What a replica computes now, in a file that outlives it: ``<writer>.flight`` beside its journal.

A shared file mapping: a plain store into it costs less than a microsecond and survives SIGKILL of
the process, not of the host.  One process writes a file; the replicas beside it and the recorder
of the node read it, and ask its writer's lock whether the writer lives.

Layout, in native 64-bit words: the header (`_MAGIC`, pid, slots, whether it serves, heartbeat),
then per lane when its batch began, when it counts as hung, how many fingerprints it has, a spare
word, and the slots of 16 bytes.  What a batch holds is stored before its count, so that a reader,
or a death at any point, finds all of a batch or nothing.
"""

import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gateway.record.lock import is_held
from gateway.record.segments import lock_path

FINGERPRINT_BYTES = 16
SUFFIX = ".flight"
NOTE = ".crash"  # what the dying say of their death; absent or empty when nothing could be said
LANES = 2  # one batch of the versions and one of the ladder's models may run at a time

_MAGIC = 0x68616E6472_01  # "handr", layout 1
_WORD = 8
_PID, _SLOTS, _SERVING, _BEAT, _HEADER = 1, 2, 3, 4, 8  # words
_BEGAN, _HUNG_AT, _COUNT, _LANE = 0, 1, 2, 4  # words, from the begin of a lane


class ForeignFileError(Exception):
    """The file is no in-flight file of this layout, or not all of one."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        """Name it."""
        return f"{self.name} is no file of what is in flight"


def flight_path(directory: Path, writer: str) -> Path:
    """Where ``writer`` keeps what it computes."""
    return directory / f"{writer}{SUFFIX}"


def note_path(directory: Path, writer: str) -> Path:
    """Where what killed ``writer`` is told: by its own signal handler, or by who ended it."""
    return directory / f"{writer}{NOTE}"


def model_of(writer: str) -> str:
    """Find the model of a replica's writer, ``<model>~<random>``."""
    return writer.rpartition("~")[0]


@dataclass(frozen=True, slots=True)
class Running:
    """A batch that is in a lane."""

    began_ns: int  # monotonic, of the machine
    hung_at_ns: int
    fingerprints: tuple[bytes, ...]


class Lane:
    """Holds the batch that runs now on one thread.  Written from one event loop."""

    def __init__(self, words: memoryview, slots: memoryview) -> None:
        self._words = words
        self._slots = slots
        self._most = len(slots) // FINGERPRINT_BYTES

    def begin(self, fingerprints: Sequence[bytes], *, began_ns: int, hung_at_ns: int) -> None:
        """Mark a batch as running; more fingerprints than there are slots are cut off."""
        joined = b"".join(fingerprints[: self._most])
        self._slots[: len(joined)] = joined
        self._words[_BEGAN], self._words[_HUNG_AT] = began_ns, hung_at_ns
        self._words[_COUNT] = len(joined) // FINGERPRINT_BYTES

    def end(self) -> None:
        """Mark the lane as idle."""
        self._words[_COUNT] = 0


class Flight:
    """One file: the writer's own, made by `create`, or a neighbour's, opened by `read`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.writer = path.name.removesuffix(SUFFIX)
        try:
            self._map = mmap.mmap(descriptor, 0)
        except ValueError:  # empty
            raise ForeignFileError(path.name) from None
        finally:
            os.close(descriptor)
        self._bytes = memoryview(self._map)
        self._words = self._bytes[: len(self._map) // _WORD * _WORD].cast("Q")
        if len(self._words) < _HEADER or self._words[0] != _MAGIC:
            raise ForeignFileError(path.name)
        self._stride = _LANE + self._words[_SLOTS] * FINGERPRINT_BYTES // _WORD
        if len(self._words) != _HEADER + LANES * self._stride:
            raise ForeignFileError(path.name)

    @classmethod
    def create(cls, directory: Path, *, writer: str, slots: int) -> Self:
        """Make the file of this process; it gets its name only once it is complete."""
        path = flight_path(directory, writer)
        words = [0] * (_HEADER + LANES * (_LANE + slots * FINGERPRINT_BYTES // _WORD))
        words[0], words[_PID], words[_SLOTS] = _MAGIC, os.getpid(), slots
        unborn = path.with_suffix(".new")
        unborn.write_bytes(b"".join(word.to_bytes(_WORD, "little") for word in words))
        unborn.rename(path)
        return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Open a file.

        Raises:
            FileNotFoundError: it is gone.
            ForeignFileError: it is something else.
        """
        return cls(path, os.open(path, os.O_RDWR | os.O_CLOEXEC))

    @property
    def pid(self) -> int:
        """Process id of the writer."""
        return int(self._words[_PID])

    @property
    def heartbeat_ns(self) -> int:
        """When the writer's event loop turned last, monotonic; 0 before it serves."""
        return int(self._words[_BEAT]) if self._words[_SERVING] else 0

    @property
    def has_worked(self) -> bool:
        """Whether it ever had a batch: until then, requests may not find their way to it yet."""
        began = (self._words[self._lane_word(number) + _BEGAN] for number in range(LANES))
        return any(began)

    def beat(self, now_ns: int) -> None:
        """Say that the event loop turns; from the first time on, the writer serves."""
        self._words[_BEAT] = now_ns
        self._words[_SERVING] = 1

    def lane(self, number: int) -> Lane:
        """Give the writer one of its `LANES`."""
        at = self._lane_word(number)
        slots = self._bytes[(at + _LANE) * _WORD : (at + self._stride) * _WORD]
        return Lane(self._words[at : at + _LANE], slots)

    def running(self) -> list[Running]:
        """List the batches that run, or ran when the writer died."""
        found = []
        for at, slots in self._busy_lanes():
            cuts = range(0, len(slots), FINGERPRINT_BYTES)
            fingerprints = tuple(slots[i : i + FINGERPRINT_BYTES] for i in cuts)
            held = tuple(one for one in fingerprints if any(one))
            found.append(Running(self._words[at + _BEGAN], self._words[at + _HUNG_AT], held))
        return found

    def holds(self, fingerprint: bytes) -> bool:
        """Whether a batch with these inputs runs, or ran when the writer died."""
        return any(fingerprint in slots for _, slots in self._busy_lanes())

    def forget(self, fingerprint: bytes) -> None:
        """Take the inputs out of a dead writer's batches: they have done no harm elsewhere."""
        for at, slots in self._busy_lanes():
            for found in range(0, len(slots), FINGERPRINT_BYTES):
                if slots.startswith(fingerprint, found):
                    begin = (at + _LANE) * _WORD + found
                    self._bytes[begin : begin + FINGERPRINT_BYTES] = bytes(FINGERPRINT_BYTES)

    def is_dead(self) -> bool:
        """Whether the writer has ended.

        Its memory goes before its sockets and its lock: who gets a repeated request, because the
        writer's socket has closed, may still find the lock held, but never the memory there.
        """
        if not is_held(lock_path(self.path.parent, self.writer)):
            return True
        try:
            return Path(f"/proc/{self.pid}/cmdline").read_bytes() == b""
        except OSError:  # no such system, or gone this moment: then the lock is what tells
            return False

    def note(self) -> str:
        """Read what is told of the writer's death; empty if it fell without a word."""
        try:
            return note_path(self.path.parent, self.writer).read_text(errors="replace")
        except OSError:
            return ""

    def has_note(self) -> bool:
        """Whether the writer did not just vanish: a fault of its own, or it was ended as hung."""
        try:
            return note_path(self.path.parent, self.writer).stat().st_size > 0
        except OSError:
            return False

    def remove(self) -> None:
        """Delete the file and its note; mappings of it stay readable."""
        note_path(self.path.parent, self.writer).unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def _lane_word(self, number: int) -> int:
        return _HEADER + number * self._stride

    def _busy_lanes(self) -> Iterator[tuple[int, bytes]]:
        """Give the first word of each lane that has a batch, and its filled slots."""
        for number in range(LANES):
            at = self._lane_word(number)
            if count := self._words[at + _COUNT]:
                begin = (at + _LANE) * _WORD
                yield at, self._map[begin : begin + count * FINGERPRINT_BYTES]


def list_flights(directory: Path) -> list[Path]:
    """List the in-flight files of a node, by name."""
    return sorted(directory.glob(f"*{SUFFIX}"))
