"""What is in flight is in the file, at every moment, and outlives the process."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.record.inflight import LANES, Flight, ForeignFileError, flight_path, note_path
from gateway.record.lock import FileLock
from gateway.record.segments import lock_path

SLOTS = 8
prints = st.binary(min_size=16, max_size=16).filter(any)


def mark(number: int) -> bytes:
    return number.to_bytes(16, "big")


class Lanes(RuleBasedStateMachine):
    """Begins and ends batches in any order, and reads the file as a neighbour does."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.scratch = tempfile.TemporaryDirectory()
        directory = Path(self.scratch.name)
        self.own = Flight.create(directory, writer="m~1", slots=SLOTS)
        self.seen = Flight.read(flight_path(directory, "m~1"))
        self.lanes = [self.own.lane(number) for number in range(LANES)]
        self.running: dict[int, tuple[int, list[bytes]]] = {}

    @rule(
        number=st.integers(0, LANES - 1),
        batch=st.lists(prints, min_size=1, max_size=SLOTS),
        at=st.integers(0, 2**62),
    )
    def begin(self, number: int, batch: list[bytes], at: int) -> None:
        self.lanes[number].begin(batch, began_ns=at, hung_at_ns=at + 1)
        self.running[number] = at, batch

    @rule(number=st.integers(0, LANES - 1))
    def end(self, number: int) -> None:
        self.lanes[number].end()
        self.running.pop(number, None)

    @rule(fingerprint=prints)
    def forget_somebody(self, fingerprint: bytes) -> None:
        self.seen.forget(fingerprint)
        for number, (at, batch) in self.running.items():
            self.running[number] = at, [one for one in batch if one != fingerprint]

    @invariant()
    def a_neighbour_sees_exactly_what_runs(self) -> None:
        seen = [(batch.began_ns, list(batch.fingerprints)) for batch in self.seen.running()]
        assert seen == [self.running[number] for number in sorted(self.running)]
        for _, batch in self.running.values():
            assert all(self.seen.holds(fingerprint) for fingerprint in batch)

    def teardown(self) -> None:
        self.scratch.cleanup()


TestSlotsAreNeitherLostNorFreedTwice = Lanes.TestCase


@given(batches=st.lists(st.lists(prints, max_size=SLOTS), min_size=1, max_size=4))
def test_what_has_ended_is_never_found_again(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[bytes]]
) -> None:
    directory = tmp_path_factory.mktemp("flights")
    flight = Flight.create(directory, writer="m~1", slots=SLOTS)
    for batch in batches:
        flight.lane(0).begin(batch, began_ns=1, hung_at_ns=2)
        flight.lane(0).end()

    assert not flight.running()
    assert not any(flight.holds(fingerprint) for batch in batches for fingerprint in batch)


def test_a_batch_with_more_requests_than_slots_is_cut_off_and_hurts_nobody(tmp_path: Path) -> None:
    flight = Flight.create(tmp_path, writer="m~1", slots=2)
    flight.lane(1).begin([mark(9)], began_ns=1, hung_at_ns=2)

    flight.lane(0).begin([mark(1), mark(2), mark(3)], began_ns=1, hung_at_ns=2)

    assert [batch.fingerprints for batch in flight.running()] == [(mark(1), mark(2)), (mark(9),)]


def test_what_is_forgotten_is_gone_however_often_it_rode(tmp_path: Path) -> None:
    flight = Flight.create(tmp_path, writer="m~1", slots=SLOTS)
    flight.lane(0).begin([mark(1), mark(2), mark(1)], began_ns=1, hung_at_ns=2)

    flight.forget(mark(1))

    assert [batch.fingerprints for batch in flight.running()] == [(mark(2),)]


@pytest.mark.parametrize("content", [b"", b"short", b"\0" * 4096])
def test_a_file_of_somebody_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m~1.flight"
    path.write_bytes(content)

    with pytest.raises(ForeignFileError):
        Flight.read(path)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    whole = Flight.create(tmp_path, writer="m~1", slots=SLOTS).path.read_bytes()
    cut = tmp_path / "m~2.flight"
    cut.write_bytes(whole[:-8])

    with pytest.raises(ForeignFileError):
        Flight.read(cut)


def test_a_writer_lives_as_long_as_it_holds_its_lock(tmp_path: Path) -> None:
    lock = FileLock.take(lock_path(tmp_path, "m~1"))
    assert lock is not None
    flight = Flight.create(tmp_path, writer="m~1", slots=SLOTS)
    assert not flight.is_dead()

    lock.release()

    assert flight.is_dead()


WORKER = """
    import faulthandler, os, sys, time
    from pathlib import Path
    from gateway.record.inflight import Flight, note_path
    from gateway.record.lock import FileLock
    from gateway.record.segments import lock_path

    directory = Path(sys.argv[1])
    lock = FileLock.take(lock_path(directory, "m~1"))
    flight = Flight.create(directory, writer="m~1", slots=8)
    faulthandler.enable(note_path(directory, "m~1").open("w"), all_threads=False)
    flight.lane(0).begin([(7).to_bytes(16, "big")], began_ns=1, hung_at_ns=2)
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("number", "tells"),
    [(signal.SIGKILL, False), (signal.SIGSEGV, True), (signal.SIGABRT, True)],
)
def test_what_ran_when_a_process_died_is_there_and_a_crash_leaves_a_note(
    tmp_path: Path, number: int, tells: bool
) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WORKER), str(tmp_path)], stdout=subprocess.PIPE
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"ready\n"
    flight = Flight.read(flight_path(tmp_path, "m~1"))
    assert flight.pid == worker.pid
    assert not flight.is_dead()

    os.kill(worker.pid, number)
    worker.wait()
    worker.stdout.close()

    assert flight.is_dead()
    assert flight.holds(mark(7))
    assert flight.has_note() is tells
    assert bool(flight.note()) is tells
    flight.remove()
    assert not note_path(tmp_path, "m~1").exists()


def test_marking_a_batch_costs_a_few_microseconds_at_most(tmp_path: Path) -> None:
    lane = Flight.create(tmp_path, writer="m~1", slots=256).lane(0)
    batch = [mark(number) for number in range(16)]
    costs_ns = []
    for _ in range(2000):
        began_ns = time.perf_counter_ns()
        lane.begin(batch, began_ns=1, hung_at_ns=2)
        lane.end()
        costs_ns.append(time.perf_counter_ns() - began_ns)

    assert min(costs_ns) < 10_000  # about 1 us; the best of many, because machines are busy
