"""The recorder sees whose segments there are, who lives, and what is new."""

import fcntl
import sqlite3
from pathlib import Path

import pytest

from gateway.config import RecordSettings
from gateway.record.journal import Journal
from gateway.record.lock import FileLock, is_held
from gateway.record.segments import (
    BusySegmentError,
    CorruptSegmentError,
    Segment,
    delete_segment,
    forget_dead_writers,
    list_segments,
    read_records,
    set_aside,
)

EVERYTHING = 2**40


@pytest.fixture
def finished(tmp_path: Path, settings: RecordSettings) -> Segment:
    """A closed segment of three records."""
    journal = Journal(tmp_path, writer="w", settings=settings)
    for body in (b"a" * 10, b"b" * 10, b"c" * 10):
        journal.append(body)
    journal.close()
    (segment,) = list_segments(tmp_path)
    return segment


def test_a_lock_is_held_until_released(tmp_path: Path) -> None:
    path = tmp_path / "w.lock"
    assert not is_held(path)
    lock = FileLock.take(path)
    assert lock is not None
    assert is_held(path)
    assert FileLock.take(path) is None

    lock.release()

    assert not is_held(path)


def test_a_removed_lock_file_cannot_be_held_by_two(tmp_path: Path) -> None:
    path = tmp_path / "w.lock"
    first = FileLock.take(path)
    assert first is not None
    first.release(remove=True)

    second = FileLock.take(path)

    assert second is not None
    assert FileLock.take(path) is None
    second.release()


def test_a_lock_file_removed_before_it_was_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.lock"
    flock = fcntl.flock

    def too_late(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        path.unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", too_late)
    lock = FileLock.take(path)

    assert lock is not None
    assert is_held(path)
    lock.release()


def test_the_newest_segment_is_open_while_its_writer_lives(
    tmp_path: Path, settings: RecordSettings
) -> None:
    journal = Journal(tmp_path, writer="w", settings=settings)
    journal.append(b"x")
    journal.commit()
    assert [segment.closed for segment in list_segments(tmp_path)] == [False]

    journal.close()

    assert [segment.closed for segment in list_segments(tmp_path)] == [True]


def test_reading_goes_on_after_the_cursor(finished: Segment) -> None:
    assert read_records(finished, 1, limit_bytes=EVERYTHING) == (
        [(2, b"b" * 10), (3, b"c" * 10)],
        True,
    )
    assert read_records(finished, 3, limit_bytes=EVERYTHING) == ([], True)


def test_a_limit_leaves_the_rest_for_later_but_never_reads_nothing(finished: Segment) -> None:
    assert read_records(finished, 0, limit_bytes=25) == ([(1, b"a" * 10), (2, b"b" * 10)], False)
    assert read_records(finished, 0, limit_bytes=1) == ([(1, b"a" * 10)], False)
    assert read_records(finished, 2, limit_bytes=1) == ([(3, b"c" * 10)], True)


def test_writers_whose_names_share_a_prefix_are_told_apart(
    tmp_path: Path, settings: RecordSettings
) -> None:
    journals = [
        Journal(tmp_path, writer=name, settings=settings) for name in ("a", "a-1", "a-000001")
    ]
    for journal in journals:
        journal.append(b"x")
        journal.commit()

    assert sorted(segment.writer for segment in list_segments(tmp_path)) == ["a", "a-000001", "a-1"]
    assert not any(segment.closed for segment in list_segments(tmp_path))
    for journal in journals:
        journal.close()


def test_files_that_are_no_segments_are_left_alone(tmp_path: Path) -> None:
    for name in ("x.seg", "w-1.seg", "w-000001.seg.new", "w-000001.bad", "notes.txt"):
        (tmp_path / name).touch()

    assert list_segments(tmp_path) == []


def test_deleting_leaves_nothing_of_a_segment(finished: Segment, tmp_path: Path) -> None:
    delete_segment(finished)

    assert [path.name for path in tmp_path.iterdir()] == ["w.lock"]


def test_a_dead_writer_is_forgotten_with_its_last_segment(
    finished: Segment, tmp_path: Path
) -> None:
    assert forget_dead_writers(tmp_path) == []
    delete_segment(finished)
    (tmp_path / "w-000002.seg.new").touch()  # it died while beginning the next

    assert forget_dead_writers(tmp_path) == ["w"]
    assert list(tmp_path.iterdir()) == []


def test_a_living_writer_without_segments_is_remembered(
    tmp_path: Path, settings: RecordSettings
) -> None:
    journal = Journal(tmp_path, writer="w", settings=settings)

    assert forget_dead_writers(tmp_path) == []
    assert (tmp_path / "w.lock").exists()
    journal.close()


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000], ids=["empty", "garbage"])
def test_a_file_that_is_no_segment_inside_is_corrupt(finished: Segment, content: bytes) -> None:
    finished.path.write_bytes(content)

    with pytest.raises(CorruptSegmentError):
        read_records(finished, 0, limit_bytes=EVERYTHING)


def test_what_precedes_the_damage_is_still_read(tmp_path: Path, settings: RecordSettings) -> None:
    journal = Journal(tmp_path, writer="w", settings=settings)
    for n in range(64):
        journal.append(bytes([n]) * 4000)
    journal.close()
    (segment,) = list_segments(tmp_path)
    content = bytearray(segment.path.read_bytes())
    half = len(content) // 2 // 4096 * 4096
    content[half : half + 4096 * 8] = b"\xff" * 4096 * 8
    segment.path.write_bytes(content)

    records, complete = read_records(segment, 0, limit_bytes=EVERYTHING)

    assert not complete
    assert [seq for seq, _ in records] == list(range(1, len(records) + 1))
    assert 16 < len(records) < 64
    with pytest.raises(CorruptSegmentError):
        read_records(segment, len(records), limit_bytes=EVERYTHING)


def test_a_segment_that_is_being_closed_is_busy_and_not_corrupt(finished: Segment) -> None:
    with sqlite3.connect(finished.path, isolation_level=None) as rival:
        rival.execute("PRAGMA locking_mode=EXCLUSIVE")
        rival.execute("BEGIN EXCLUSIVE")
        rival.execute("INSERT INTO record (body) VALUES (x'00')")
        with pytest.raises(BusySegmentError):
            read_records(finished, 0, limit_bytes=EVERYTHING)
        rival.execute("ROLLBACK")
    rival.close()


def test_a_segment_set_aside_is_out_of_the_way_and_whole(finished: Segment, tmp_path: Path) -> None:
    set_aside(finished)

    assert list_segments(tmp_path) == []
    with sqlite3.connect(tmp_path / "w-000001.bad") as kept:
        assert kept.execute("SELECT count(*) FROM record").fetchone() == (3,)
    kept.close()
