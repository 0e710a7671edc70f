"""The journal costs nothing, commits in groups, and outlives its replica and a full disk."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config import MIB, RecordSettings
from gateway.record import journal as journal_module
from gateway.record.journal import GroupCommitter, Journal, WriterNameError
from gateway.record.segments import list_segments, read_records


def bodies(directory: Path) -> list[bytes]:
    return [
        body
        for segment in list_segments(directory)
        for _, body in read_records(segment, 0, limit_bytes=2**40)[0]
    ]


@pytest.fixture
def journal(tmp_path: Path, settings: RecordSettings) -> Iterator[Journal]:
    journal = Journal(tmp_path, writer="digits~a1", settings=settings)
    yield journal
    journal.close()


def test_append_only_buffers_and_commit_makes_it_readable(journal: Journal, tmp_path: Path) -> None:
    journal.append(b"one")
    journal.append(b"two")
    assert bodies(tmp_path) == []
    assert journal.buffered == 2

    journal.commit()

    assert bodies(tmp_path) == [b"one", b"two"]
    assert journal.buffered == 0


def test_a_segment_appears_only_once_it_is_a_complete_database(
    journal: Journal, tmp_path: Path
) -> None:
    assert list_segments(tmp_path) == []
    journal.append(b"one")
    journal.commit()

    assert [path.name for path in tmp_path.glob("*.new*")] == []
    assert [segment.name for segment in list_segments(tmp_path)] == ["digits~a1-000001.seg"]


def test_a_segment_is_closed_at_its_size(tmp_path: Path) -> None:
    journal = Journal(tmp_path, writer="w", settings=RecordSettings(segment_bytes=MIB // 4))
    for _ in range(3):
        journal.append(bytes(MIB // 4))
        journal.commit()
    journal.append(b"last")
    journal.commit()

    assert [segment.closed for segment in list_segments(tmp_path)] == [True, True, True, False]
    assert [len(body) for body in bodies(tmp_path)] == [MIB // 4] * 3 + [4]
    journal.close()


def test_a_segment_is_closed_at_its_age(tmp_path: Path) -> None:
    now_s = [0.0]
    settings = RecordSettings(segment_s=30)
    journal = Journal(tmp_path, writer="w", settings=settings, clock_s=lambda: now_s[0])
    for now_s[0] in (0.0, 29.0, 31.0, 32.0):
        journal.append(b"record")
        journal.commit()

    assert [segment.number for segment in list_segments(tmp_path)] == [1, 2]
    journal.close()


def test_a_closed_journal_leaves_a_closed_segment(tmp_path: Path, settings: RecordSettings) -> None:
    journal = Journal(tmp_path, writer="w", settings=settings)
    journal.append(b"one")
    journal.close()

    assert bodies(tmp_path) == [b"one"]
    assert [segment.closed for segment in list_segments(tmp_path)] == [True]


def test_a_second_writer_of_the_same_name_is_refused(
    journal: Journal, tmp_path: Path, settings: RecordSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_LOCK_TRIES", 2)

    with pytest.raises(WriterNameError):
        Journal(tmp_path, writer="digits~a1", settings=settings)


@pytest.mark.parametrize("writer", ["", "a/b", "..\0", "a b"])
def test_a_writer_that_is_no_file_name_is_refused(
    writer: str, tmp_path: Path, settings: RecordSettings
) -> None:
    with pytest.raises(WriterNameError):
        Journal(tmp_path, writer=writer, settings=settings)


def test_a_writer_that_comes_back_goes_on_counting(
    tmp_path: Path, settings: RecordSettings
) -> None:
    for body in (b"before", b"after"):
        journal = Journal(tmp_path, writer="w", settings=settings)
        journal.append(body)
        journal.close()

    assert [segment.number for segment in list_segments(tmp_path)] == [1, 2]
    assert bodies(tmp_path) == [b"before", b"after"]


def test_while_the_disk_refuses_records_are_kept_and_then_written(
    journal: Journal, tmp_path: Path
) -> None:
    journal.append(b"first")
    journal.commit()
    refuse_writes(journal)
    journal.append(b"second")
    journal.commit()
    assert (journal.healthy, journal.buffered, journal.dropped) == (False, 1, 0)

    journal.append(b"third")
    journal.commit()

    assert (journal.healthy, journal.buffered) == (True, 0)
    assert bodies(tmp_path) == [b"first", b"second", b"third"]


def test_a_disk_that_refuses_for_long_costs_the_oldest_records_and_they_are_counted(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_BUFFER_BYTES_MAX", 100)
    journal.append(b"x")
    journal.commit()
    refuse_writes(journal)
    journal.append(b"oldest" + bytes(50))
    journal.commit()
    for n in range(3):
        journal.append(bytes([n]) * 40)
    assert (journal.buffered, journal.dropped) == (2, 2)

    journal.commit()

    assert bodies(tmp_path) == [b"x", b"\1" * 40, b"\2" * 40]


def test_a_burst_larger_than_the_buffer_loses_nothing_while_the_disk_works(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_BUFFER_BYTES_MAX", 100)
    for n in range(10):
        journal.append(bytes([n]) * 40)
    journal.commit()

    assert len(bodies(tmp_path)) == 10
    assert journal.dropped == 0


def refuse_writes(journal: Journal) -> None:
    """Make SQLite refuse every write to the open segment, as a full disk would."""
    assert journal._segment is not None
    journal._segment.execute("PRAGMA query_only=ON")


async def test_the_committer_commits_within_its_window(journal: Journal, tmp_path: Path) -> None:
    settings = RecordSettings(commit_ms=5)
    committer = GroupCommitter(journal, asyncio.get_running_loop(), settings=settings)
    for n in range(10):
        committer.append(bytes([n]))
    assert bodies(tmp_path) == []

    await asyncio.sleep(0.05)

    assert len(bodies(tmp_path)) == 10


async def test_the_committer_tries_again_after_a_refused_commit(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_RETRY_S", 0.01)
    committer = GroupCommitter(
        journal, asyncio.get_running_loop(), settings=RecordSettings(commit_ms=1)
    )
    committer.append(b"first")
    await asyncio.sleep(0.02)
    refuse_writes(journal)
    committer.append(b"second")

    await asyncio.sleep(0.1)

    assert journal.healthy
    assert bodies(tmp_path) == [b"first", b"second"]


async def test_an_idle_writer_closes_its_segment_and_keeps_no_timer(tmp_path: Path) -> None:
    settings = RecordSettings(commit_ms=1, segment_s=0.05)
    journal = Journal(tmp_path, writer="w", settings=settings)
    committer = GroupCommitter(journal, asyncio.get_running_loop(), settings=settings)
    committer.append(b"one")
    await asyncio.sleep(0.02)
    assert committer._aging is not None

    await asyncio.sleep(0.2)

    assert [timer for timer in (committer._timer, committer._aging) if timer] == []
    assert not journal.close_old_segment()
    committer.append(b"two")
    await asyncio.sleep(0.02)
    assert [segment.number for segment in list_segments(tmp_path)] == [1, 2]
    committer.close()


async def test_an_idle_committer_commits_nothing(journal: Journal) -> None:
    committer = GroupCommitter(
        journal, asyncio.get_running_loop(), settings=RecordSettings(commit_ms=1)
    )
    committer.append(b"one")
    await asyncio.sleep(0.02)

    assert committer._timer is None


KILLED = """
    import os, sys
    from pathlib import Path
    from gateway.config import MIB, RecordSettings
    from gateway.record.journal import Journal

    settings = RecordSettings(segment_bytes=MIB // 4)
    journal = Journal(Path(sys.argv[1]), writer="killed", settings=settings)
    n = 0
    while True:
        for _ in range(7):
            journal.append(n.to_bytes(8, "big") + bytes(500))
            n += 1
        journal.commit()
        os.write(1, n.to_bytes(8, "big"))  # committed up to here
"""


def test_what_a_killed_writer_committed_is_all_there(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert process.stdout is not None
    acknowledged = b"".join(process.stdout.read(8) for _ in range(300))
    assert not all(segment.closed for segment in list_segments(tmp_path))
    process.send_signal(signal.SIGKILL)
    acknowledged += process.stdout.read()
    process.wait()
    process.stdout.close()
    last = len(acknowledged) // 8 * 8
    committed = int.from_bytes(acknowledged[last - 8 : last], "big")

    found = [int.from_bytes(body[:8], "big") for body in bodies(tmp_path)]

    assert len(list_segments(tmp_path)) > 1  # it was killed while rotating, too
    assert all(segment.closed for segment in list_segments(tmp_path))
    assert found == list(range(len(found)))
    assert len(found) >= committed
    assert len(found) - committed <= 7


def test_closing_a_segment_does_not_disturb_its_reader(
    tmp_path: Path, settings: RecordSettings
) -> None:
    journal = Journal(tmp_path, writer="w", settings=settings)
    journal.append(b"one")
    journal.commit()
    (segment,) = list_segments(tmp_path)
    reader = sqlite3.connect(f"file:{segment.path}?mode=ro", uri=True)
    rows = reader.execute("SELECT body FROM record")

    journal.close()

    assert rows.fetchall() == [(b"one",)]
    reader.close()
