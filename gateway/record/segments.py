"""What the recorder sees of the journal: whose segments there are, and what is new in them.

A segment is one SQLite file in WAL mode, ``<writer>-<number>.seg``.  It is closed, for
good, once its writer has begun a later one or is dead; a writer lives as long as it holds
``<writer>.lock``.
"""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from gateway.record.lock import FileLock, is_held

CREATE = "CREATE TABLE record (seq INTEGER PRIMARY KEY, body BLOB NOT NULL)"
INSERT = "INSERT INTO record (body) VALUES (?)"
_SELECT = "SELECT seq, body FROM record WHERE seq > ? ORDER BY seq"
_NAME = re.compile(r"(?P<writer>.+)-(?P<number>\d{6,})\.seg")
_BUSY_S = 0.05  # readers of a WAL database wait for nobody but a writer that is closing it
_SIDES = ("-wal", "-shm")  # what SQLite keeps beside a WAL database
_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})


class BusySegmentError(Exception):
    """The segment's writer is just closing it; it can be read in a moment."""


class CorruptSegmentError(Exception):
    """The segment is no longer a database with a record table."""

    def __init__(self, segment: str, problem: str) -> None:
        super().__init__(segment, problem)
        self.segment = segment
        self.problem = problem

    def __str__(self) -> str:
        """Name the segment and SQLite's complaint."""
        return f"segment {self.segment} cannot be read: {self.problem}"


@dataclass(frozen=True)
class Segment:
    """One file of the journal."""

    path: Path
    writer: str
    number: int
    closed: bool  # nothing will be added any more

    @property
    def name(self) -> str:
        """Its name in the evidence's transactions."""
        return self.path.name


def segment_path(directory: Path, writer: str, *, number: int) -> Path:
    """Where segment ``number`` of ``writer`` lies."""
    return directory / f"{writer}-{number:06d}.seg"


def lock_path(directory: Path, writer: str) -> Path:
    """The file whose lock ``writer`` holds for its life."""
    return directory / f"{writer}.lock"


def list_segments(directory: Path) -> list[Segment]:
    """List the segments by writer and number.

    Whether a writer lives is asked before its records are read: what is closed here is
    complete by the time it is read.
    """
    found = []
    for path in directory.glob("*.seg"):
        if match := _NAME.fullmatch(path.name):
            found.append(Segment(path, match["writer"], int(match["number"]), closed=True))
    newest = {segment.writer: 0 for segment in found}
    for segment in found:
        newest[segment.writer] = max(newest[segment.writer], segment.number)
    alive = {writer for writer in newest if is_held(lock_path(directory, writer))}
    return sorted(
        (
            replace(
                segment,
                closed=segment.writer not in alive or segment.number < newest[segment.writer],
            )
            for segment in found
        ),
        key=lambda segment: (segment.writer, segment.number),
    )


def read_records(
    segment: Segment, after: int, *, limit_bytes: int
) -> tuple[list[tuple[int, bytes]], bool]:
    """Read ``(seq, body)`` in order, past ``after``; a limit smaller than one record reads one.

    Returns:
        The records, and whether they were all there are.

    Raises:
        BusySegmentError: try again in the next cycle.
        CorruptSegmentError: nothing more can be read; what could, was returned before.
        sqlite3.Error: the disk refused; try again.
    """
    records: list[tuple[int, bytes]] = []
    size = 0
    try:
        for record in _select(segment.path, after):
            if records and size + len(record[1]) > limit_bytes:
                return records, False
            records.append(record)
            size += len(record[1])
    except sqlite3.DatabaseError as error:
        if records:
            return records, False
        primary = error.sqlite_errorcode & 0xFF
        if primary == sqlite3.SQLITE_BUSY:
            raise BusySegmentError(segment.name) from error
        if primary in _BROKEN:
            raise CorruptSegmentError(segment.name, str(error)) from error
        raise
    return records, True


def _select(path: Path, after: int) -> Iterator[tuple[int, bytes]]:
    address = f"file:{quote(str(path))}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=_BUSY_S)) as connection:
        yield from connection.execute(_SELECT, (after,))


def delete_segment(segment: Segment) -> None:
    """Delete a finished closed segment.

    The file itself goes last: after a crash in between it is found again, with nothing
    new in it, and deleted again.
    """
    for side in _SIDES:
        Path(f"{segment.path}{side}").unlink(missing_ok=True)
    segment.path.unlink(missing_ok=True)


def set_aside(segment: Segment) -> None:
    """Rename a closed segment to ``.bad``, for a person to look at, out of the recorder's way."""
    aside = segment.path.with_suffix(".bad")
    for side in _SIDES:
        if os.path.exists(f"{segment.path}{side}"):
            os.replace(f"{segment.path}{side}", f"{aside}{side}")
    os.replace(segment.path, aside)


def forget_dead_writers(directory: Path) -> list[str]:
    """Remove what is left of dead writers that have no segment any more; name them."""
    forgotten = []
    writers = {segment.writer for segment in list_segments(directory)}
    for path in directory.glob("*.lock"):
        writer = path.stem
        if writer in writers or is_held(path) or (lock := FileLock.take(path)) is None:
            continue
        for unborn in directory.glob(f"{writer}-*.seg.new*"):
            unborn.unlink(missing_ok=True)
        lock.release(remove=True)
        forgotten.append(writer)
    return forgotten
