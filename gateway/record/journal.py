"""The replica's journal: records survive the replica, and cost it a few microseconds each.

Group commit into SQLite WAL segments.  ``synchronous=NORMAL`` without checkpoints never
waits for the disk: a committed record survives the death of any process, not of the host.
"""

import asyncio
import logging
import os
import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from gateway.config import MIB, RecordSettings
from gateway.record.lock import FileLock
from gateway.record.segments import CREATE, INSERT, list_segments, lock_path, segment_path

_BUFFER_BYTES_MAX = 64 * MIB  # kept while the disk refuses; beyond it the oldest are dropped
_RETRY_S = 0.5  # between commits while the disk refuses
_LOCK_TRIES = 100  # 10 ms apart; the recorder's probe holds a lock for microseconds
_WRITER = re.compile(r"[A-Za-z0-9._~-]+")
_log = logging.getLogger(__name__)


class WriterNameError(Exception):
    """The writer's name is taken by a living process, or cannot be a file name."""

    def __init__(self, writer: str) -> None:
        super().__init__(writer)
        self.writer = writer

    def __str__(self) -> str:
        """Name it."""
        return f"journal writer {self.writer!r} is already alive, or no file name"


class Journal:
    """Buffers encoded records and commits them in groups.  Used from one thread."""

    def __init__(
        self,
        directory: Path,
        *,
        writer: str,
        settings: RecordSettings,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        if _WRITER.fullmatch(writer) is None:
            raise WriterNameError(writer)
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._writer = writer
        self._settings = settings
        self._clock_s = clock_s
        self._lock = _take_lock(directory, writer)
        numbers = [s.number for s in list_segments(directory) if s.writer == writer]
        self._number = max(numbers, default=0)
        self._segment: sqlite3.Connection | None = None  # opened by the first commit
        self._segment_bytes = 0
        self._opened_s = 0.0
        self._buffer: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._healthy = True
        self._dropped = 0

    @property
    def healthy(self) -> bool:
        """Whether the last commit succeeded."""
        return self._healthy

    @property
    def dropped(self) -> int:
        """Records lost because the disk refused for longer than the buffer could hold."""
        return self._dropped

    @property
    def buffered(self) -> int:
        """Records appended and not yet committed."""
        return len(self._buffer)

    @property
    def filled_share(self) -> float:
        """How much of the buffer is taken."""
        return self._buffered_bytes / _BUFFER_BYTES_MAX

    def append(self, body: bytes) -> None:
        """Buffer one encoded record; `commit` makes it durable."""
        self._buffer.append(body)
        self._buffered_bytes += len(body)
        if self._buffered_bytes > _BUFFER_BYTES_MAX and not self._healthy:
            self._drop_oldest()

    def commit(self) -> None:
        """Write the buffer in one transaction; a refused one is kept and tried again later."""
        if not self._buffer:
            return
        try:
            segment = self._segment or self._open_segment()
            segment.execute("BEGIN")
            segment.executemany(INSERT, zip(self._buffer, strict=True))
            segment.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self._abandon_segment(error)
            return
        if not self._healthy:
            _log.warning(
                "journal %s recovered; %d records were dropped", self._writer, self._dropped
            )
            self._healthy = True
        self._segment_bytes += self._buffered_bytes
        self._buffer.clear()
        self._buffered_bytes = 0
        if self._segment_bytes >= self._settings.segment_bytes:
            self._close_segment()
        self.close_old_segment()

    def close_old_segment(self) -> bool:
        """Close the segment if it is old enough; say whether one stays open.

        `commit` does so too; an idle writer would keep its last segment open for ever.
        """
        if self._segment is None:
            return False
        if self._clock_s() - self._opened_s < self._settings.segment_s:
            return True
        self._close_segment()
        return False

    def close(self) -> None:
        """Commit what is left and let the recorder finish the segment."""
        self.commit()
        if self._buffer:
            _log.error("journal %s closes, %d records unwritten", self._writer, len(self._buffer))
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        self._lock.release()

    def _open_segment(self) -> sqlite3.Connection:
        """Begin the next segment; it gets its name only once it is a complete database."""
        path = segment_path(self._directory, self._writer, number=self._number + 1)
        unborn = Path(f"{path}.new")
        unborn.unlink(missing_ok=True)
        draft = sqlite3.connect(unborn, isolation_level=None)
        try:
            draft.execute("PRAGMA synchronous=OFF")
            draft.execute("PRAGMA journal_mode=WAL")
            draft.execute(CREATE)
        finally:
            draft.close()
        os.rename(unborn, path)
        self._number += 1
        # Another thread closes it; see `_close_segment`.
        segment = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        segment.execute("PRAGMA synchronous=NORMAL")
        segment.execute("PRAGMA wal_autocheckpoint=0")
        self._segment = segment
        self._segment_bytes = 0
        self._opened_s = self._clock_s()
        return segment

    def _close_segment(self) -> None:
        """Leave the segment to the recorder.

        SQLite checkpoints on close, which waits for the disk; the event loop must not.
        """
        if self._segment is not None:
            threading.Thread(target=self._segment.close, name="journal-close", daemon=True).start()
            self._segment = None

    def _abandon_segment(self, error: Exception) -> None:
        """Keep the records, and start a new segment next time: this one may be beyond repair."""
        if self._healthy:
            _log.error(
                "journal %s cannot commit, keeping records in memory: %s", self._writer, error
            )
            self._healthy = False
        self._close_segment()
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        while self._buffered_bytes > _BUFFER_BYTES_MAX and self._buffer:
            self._buffered_bytes -= len(self._buffer.popleft())
            self._dropped += 1


def _take_lock(directory: Path, writer: str) -> FileLock:
    for _ in range(_LOCK_TRIES):
        if (lock := FileLock.take(lock_path(directory, writer))) is not None:
            return lock
        time.sleep(0.01)
    raise WriterNameError(writer)


class GroupCommitter:
    """Commits a journal from an event loop, ``commit_ms`` after the first buffered record.

    Costs an idle replica nothing: once its last segment is closed there is no timer.
    """

    def __init__(
        self, journal: Journal, loop: asyncio.AbstractEventLoop, *, settings: RecordSettings
    ) -> None:
        self._journal = journal
        self._loop = loop
        self._window_s = settings.commit_ms / 1000
        self._segment_s = settings.segment_s
        self._timer: asyncio.TimerHandle | None = None
        self._aging: asyncio.TimerHandle | None = None

    @property
    def journal(self) -> Journal:
        """Whose health and drops the replica reports."""
        return self._journal

    def append(self, body: bytes) -> None:
        """Record ``body``; durable within the commit window."""
        self._journal.append(body)
        if self._timer is None:
            self._timer = self._loop.call_later(self._window_s, self._commit)

    def close(self) -> None:
        """Commit what is left and close the journal."""
        for timer in (self._timer, self._aging):
            if timer is not None:
                timer.cancel()
        self._journal.close()

    def _commit(self) -> None:
        self._journal.commit()
        retry = self._journal.buffered > 0
        self._timer = self._loop.call_later(_RETRY_S, self._commit) if retry else None
        if self._aging is None:
            self._aging = self._loop.call_later(self._segment_s, self._age)

    def _age(self) -> None:
        still_open = self._journal.close_old_segment()
        self._aging = self._loop.call_later(self._segment_s, self._age) if still_open else None
