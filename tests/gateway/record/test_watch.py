"""Who is ended, who is spared, and what is reported of the dead; in virtual time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.record.inflight import Flight, Running, note_path
from gateway.record.lock import FileLock
from gateway.record.metrics import Metrics
from gateway.record.segments import lock_path
from gateway.record.watch import BEAT_LIMIT_S, CERTAIN, LOOK_S, Watch, condemn, overdue

S = 1_000_000_000


@dataclass
class Book:
    """Keeps what is entered, and quarantines at the second death."""

    entries: list[tuple[str, str, tuple[bytes, ...], bool]] = field(default_factory=list)
    fails: bool = False

    def add(
        self, model: str, writer: str, fingerprints: Sequence[bytes], *, told: bool
    ) -> list[bytes]:
        if self.fails:
            raise OSError("the registry is away")
        before = [one for entry in self.entries for one in entry[2]]
        self.entries.append((model, writer, tuple(fingerprints), told))
        return [one for one in fingerprints if one in before]


@dataclass
class Node:
    """Replicas that are files and locks, a watch over them, and a clock."""

    directory: Path
    book: Book = field(default_factory=Book)
    now_ns: int = 1000 * S
    killed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.metrics = Metrics(lag_s=lambda: 0.0)
        self.locks: dict[str, FileLock] = {}
        self.flights: dict[str, Flight] = {}
        self.beating: set[str] = set()
        self.watch = Watch(
            self.directory, self.book, self.metrics, kill=self.kill, now_ns=lambda: self.now_ns
        )

    def replica(self, writer: str, *, beats: bool = True) -> Flight:
        lock = FileLock.take(lock_path(self.directory, writer))
        assert lock is not None
        self.locks[writer] = lock
        self.flights[writer] = Flight.create(self.directory, writer=writer, slots=8)
        self.flights[writer].beat(self.now_ns)
        if beats:
            self.beating.add(writer)
        return self.flights[writer]

    def run(self, writer: str, *fingerprints: bytes, hung_after_s: float = 5.0) -> None:
        self.flights[writer].lane(0).begin(
            fingerprints, began_ns=self.now_ns, hung_at_ns=self.now_ns + int(hung_after_s * S)
        )

    def die(self, writer: str) -> None:
        self.locks.pop(writer).release()
        self.beating.discard(writer)

    def kill(self, pid: int, number: int) -> None:
        """All of them have this test's process id: the note tells who is meant."""
        [writer] = [w for w in self.locks if note_path(self.directory, w).exists()]
        self.killed.append(writer)
        self.die(writer)

    def wait(self, for_s: float) -> None:
        until_ns = self.now_ns + int(for_s * S)
        while self.now_ns < until_ns:
            self.now_ns += int(LOOK_S * S)
            for writer in self.beating:
                self.flights[writer].beat(self.now_ns)
            self.watch.look()

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def mark(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_a_batch_beyond_its_limit_ends_its_replica_within_a_second(node: Node) -> None:
    node.replica("m~a")
    node.replica("m~b")
    node.run("m~a", mark(1))

    node.wait(4.5)
    assert node.killed == []
    node.wait(1.5)

    assert node.killed == ["m~a"]


def test_an_event_loop_that_stands_still_ends_its_replica(node: Node) -> None:
    node.replica("m~a")
    node.replica("m~b", beats=False)

    node.wait(6.5)

    assert node.killed == ["m~b"]


def test_the_last_replica_is_left_until_there_is_no_doubt(node: Node) -> None:
    node.replica("m~a")
    node.replica("other~b")  # of another model: of no help
    node.run("m~a", mark(1))

    node.wait(5 * CERTAIN - 1)
    assert node.killed == []
    node.wait(2)

    assert node.killed == ["m~a"]


def test_of_two_that_hang_one_stays_until_another_one_serves(node: Node) -> None:
    node.replica("m~a")
    node.replica("m~b")
    node.run("m~a", mark(1))
    node.wait(1)
    node.run("m~b", mark(1))

    node.wait(10)
    assert node.killed == ["m~a"]
    node.replica("m~c")
    node.wait(2)

    assert node.killed == ["m~a", "m~b"]


def test_a_replica_that_still_starts_is_not_judged_and_saves_nobody(node: Node) -> None:
    node.replica("m~a")
    lock = FileLock.take(lock_path(node.directory, "m~b"))
    Flight.create(node.directory, writer="m~b", slots=8)
    node.run("m~a", mark(1))

    node.wait(20)

    assert lock is not None
    assert node.killed == []


def test_a_watchman_who_overslept_accuses_nobody(node: Node) -> None:
    node.replica("m~a")
    node.replica("m~b", beats=False)

    node.now_ns += 60 * S  # the whole machine stood still
    node.flights["m~a"].beat(node.now_ns)
    node.watch.look()
    node.flights["m~b"].beat(node.now_ns)
    node.beating.add("m~b")
    node.wait(5)

    assert node.killed == []


def test_a_batch_that_ends_late_but_ends_saves_its_replica(node: Node) -> None:
    node.replica("m~a")
    node.replica("m~b")
    node.run("m~a", mark(1))
    node.wait(4.5)
    node.flights["m~a"].lane(0).end()

    node.wait(5)

    assert node.killed == []


def test_what_a_dead_replica_was_computing_is_entered_once_and_its_file_goes(node: Node) -> None:
    node.replica("m~a")
    node.run("m~a", mark(1), mark(2))
    node.die("m~a")

    node.wait(2)

    assert node.book.entries == [("m", "m~a", (mark(1), mark(2)), False)]
    assert not list(node.directory.glob("*.flight"))
    assert node.sample("handrail_replica_deaths_total", model="m", cause="ended") == 1


def test_a_replica_that_died_idle_accuses_nobody(node: Node) -> None:
    node.replica("m~a")
    node.die("m~a")

    node.wait(2)

    assert node.book.entries == []
    assert not list(node.directory.glob("*.flight"))


def test_a_crash_and_a_hang_are_told_and_the_second_death_is_counted(node: Node) -> None:
    node.replica("m~a")
    node.replica("m~b")
    node.run("m~a", mark(1))
    note_path(node.directory, "m~a").write_text("Fatal Python error: Segmentation fault")
    node.die("m~a")
    node.wait(1)
    node.replica("m~c")
    node.run("m~b", mark(1))

    node.wait(7)

    assert [(entry[1], entry[3]) for entry in node.book.entries] == [("m~a", True), ("m~b", True)]
    assert node.sample("handrail_replica_deaths_total", model="m", cause="crashed") == 1
    assert node.sample("handrail_replica_deaths_total", model="m", cause="hung") == 1
    assert node.sample("handrail_inputs_quarantined_total", model="m") == 1


def test_a_death_that_could_not_be_entered_is_entered_at_the_next_look(node: Node) -> None:
    node.replica("m~a")
    node.run("m~a", mark(1))
    node.die("m~a")
    node.book.fails = True
    with pytest.raises(OSError, match="away"):
        node.wait(0.5)
    node.book.fails = False

    node.wait(0.5)

    assert [entry[1] for entry in node.book.entries] == ["m~a"]


def test_foreign_files_are_left_alone(node: Node) -> None:
    (node.directory / "x.flight").write_bytes(b"not ours")

    node.wait(1)

    assert (node.directory / "x.flight").exists()


@given(replicas=st.dictionaries(st.text(max_size=3), st.floats(0, CERTAIN, exclude_max=True)))
def test_some_replica_always_stays_while_there_is_doubt(replicas: dict[str, float]) -> None:
    gone = condemn(replicas)

    assert all(replicas[name] >= 1 for name in gone)
    assert len(gone) < len(replicas) or not replicas


@given(
    age_s=st.floats(0, 1e4),
    allowed_s=st.floats(0.1, 100),
    silent_s=st.floats(0, 0.9 * BEAT_LIMIT_S),
)
def test_a_replica_is_overdue_exactly_when_its_batch_is(
    age_s: float, allowed_s: float, silent_s: float
) -> None:
    now_ns = 10**14
    began_ns = now_ns - int(age_s * S)
    batch = Running(began_ns, began_ns + int(allowed_s * S), ())

    span = overdue(now_ns - int(silent_s * S), [batch], now_ns)

    assert (span >= 1) == (now_ns >= batch.hung_at_ns)
