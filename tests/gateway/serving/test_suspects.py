"""Inputs found at a death are asked alone, wait, or are refused, from the first repeat on."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from gateway.record.inflight import Flight, note_path
from gateway.record.lock import FileLock
from gateway.record.segments import lock_path
from gateway.registry.deaths import Deaths
from gateway.serving.suspects import WAIT_S, Standing, Suspects

S = 1_000_000_000


class Unreachable(Deaths):
    """A registry that is away when it is told to be."""

    away = False

    def of(self, model: str) -> dict[bytes, list[object]]:  # type: ignore[override]
        if self.away:
            raise OperationalError("select", {}, Exception("away"))
        return super().of(model)  # type: ignore[return-value]


@dataclass
class Node:
    """The replicas of a model on one node, seen from one of them."""

    directory: Path
    has_siblings: bool = True
    now_ns: int = 1000 * S
    now_s: float = 1e9
    locks: dict[str, FileLock] = field(default_factory=dict)

    def __post_init__(self) -> None:
        url = f"sqlite:///{self.directory}/handrail.db"
        self.deaths = Unreachable(url, clock_s=lambda: self.now_s)
        self.own = self.replica("m~own")
        self.suspects = Suspects(
            "m",
            self.own,
            self.deaths,
            has_siblings=self.has_siblings,
            now_ns=lambda: self.now_ns,
            clock_s=lambda: self.now_s,
        )

    def replica(self, writer: str) -> Flight:
        lock = FileLock.take(lock_path(self.directory, writer))
        assert lock is not None
        self.locks[writer] = lock
        flight = Flight.create(self.directory, writer=writer, slots=8)
        flight.beat(self.now_ns)
        return flight

    def die(self, flight: Flight, *held: bytes, note: str = "") -> None:
        flight.lane(0).begin(held, began_ns=self.now_ns, hung_at_ns=self.now_ns + S)
        if note:
            note_path(self.directory, flight.writer).write_text(note)
        self.locks.pop(flight.writer).release()

    def record(self, flight: Flight, *held: bytes, told: bool = False) -> None:
        """Do what the recorder does with a dead replica."""
        self.deaths.add("m", flight.writer, held, told=told)
        flight.remove()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def mark(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_nobody_is_suspected_before_anybody_died(node: Node) -> None:
    node.replica("m~a").lane(0).begin([mark(1)], began_ns=1, hung_at_ns=2)
    node.suspects.refresh()

    assert node.suspects.standing(mark(1)) is Standing.CLEAR  # a living sibling is at it
    assert node.suspects.standing(mark(2)) is Standing.CLEAR


def test_a_repeat_is_known_before_anybody_entered_the_death(node: Node) -> None:
    sibling = node.replica("m~a")
    node.suspects.refresh()

    node.die(sibling, mark(1), mark(2))

    assert node.suspects.standing(mark(1)) is Standing.ALONE
    assert node.suspects.standing(mark(2)) is Standing.ALONE
    assert node.suspects.standing(mark(3)) is Standing.CLEAR


def test_who_waited_behind_the_batch_is_no_suspect(node: Node) -> None:
    sibling = node.replica("m~a")
    node.suspects.refresh()
    sibling.lane(0).begin([mark(1)], began_ns=1, hung_at_ns=2)
    sibling.lane(0).end()

    node.die(sibling, mark(2))

    assert node.suspects.standing(mark(1)) is Standing.CLEAR


def test_two_deaths_quarantine_at_once_and_stay_two_when_they_are_entered(node: Node) -> None:
    first, second = node.replica("m~a"), node.replica("m~b")
    node.suspects.refresh()
    node.die(first, mark(1))
    node.die(second, mark(1))
    assert node.suspects.standing(mark(1)) is Standing.QUARANTINED

    node.record(first, mark(1))
    node.suspects.refresh()
    assert node.suspects.standing(mark(1)) is Standing.QUARANTINED
    node.record(second, mark(1))
    node.suspects.refresh()

    assert node.suspects.standing(mark(1)) is Standing.QUARANTINED


def test_one_death_in_file_and_registry_is_one_death(node: Node) -> None:
    sibling = node.replica("m~a")
    node.suspects.refresh()
    node.die(sibling, mark(1))
    node.deaths.add("m", "m~a", [mark(1)], told=False)  # entered, the file not yet removed

    node.suspects.refresh()

    assert node.suspects.standing(mark(1)) is Standing.ALONE


def test_a_new_replica_knows_of_deaths_before_its_first_request(node: Node) -> None:
    sibling = node.replica("m~a")
    node.die(sibling, mark(1))
    node.record(sibling, mark(1))
    other = node.replica("m~b")
    node.die(other, mark(1))

    node.suspects.refresh()

    assert node.suspects.standing(mark(1)) is Standing.QUARANTINED


def test_a_file_is_kept_open_until_the_registry_tells_of_the_death(node: Node) -> None:
    sibling = node.replica("m~a")
    node.suspects.refresh()
    node.die(sibling, mark(1))
    node.record(sibling, mark(1))
    node.deaths.away = True
    node.suspects.refresh()
    assert node.suspects.standing(mark(1)) is Standing.ALONE

    node.deaths.away = False
    node.suspects.refresh()

    assert node.suspects.standing(mark(1)) is Standing.ALONE


def test_a_suspect_that_came_through_is_forgotten_here_and_everywhere(node: Node) -> None:
    entered, fresh = node.replica("m~a"), node.replica("m~b")
    node.die(entered, mark(1))
    node.record(entered, mark(1))
    node.suspects.refresh()
    assert node.suspects.standing(mark(1)) is Standing.ALONE
    node.suspects.acquit(mark(1))
    assert node.suspects.standing(mark(1)) is Standing.CLEAR

    node.die(fresh, mark(2), mark(3))
    node.suspects.refresh()
    node.suspects.acquit(mark(2))

    assert node.suspects.standing(mark(2)) is Standing.CLEAR
    assert node.suspects.standing(mark(3)) is Standing.ALONE
    assert node.deaths.of("m") == {}
    [left] = Flight.read(fresh.path).running()
    assert left.fingerprints == (mark(3),)


def test_the_last_replica_leaves_suspects_of_a_crash_to_its_ladder_for_a_while(node: Node) -> None:
    sibling = node.replica("m~a")
    node.suspects.refresh()
    node.die(sibling, mark(1), note="Fatal Python error: Segmentation fault")
    assert node.suspects.standing(mark(1)) is Standing.NOT_NOW
    node.record(sibling, mark(1), told=True)
    node.suspects.refresh()
    assert node.suspects.standing(mark(1)) is Standing.NOT_NOW

    node.now_s += WAIT_S + 1

    assert node.suspects.standing(mark(1)) is Standing.ALONE


def test_a_suspect_of_a_crash_is_tried_when_a_second_replica_is_well(node: Node) -> None:
    sibling = node.replica("m~a")
    node.suspects.refresh()
    node.die(sibling, mark(1), note="Fatal Python error: Segmentation fault")
    second = node.replica("m~b")
    node.suspects.refresh()
    assert node.suspects.standing(mark(1)) is Standing.ALONE

    node.now_ns += 3 * S  # its event loop stands still
    assert node.suspects.standing(mark(1)) is Standing.NOT_NOW
    second.beat(node.now_ns)

    assert node.suspects.standing(mark(1)) is Standing.ALONE


def test_whoever_is_meant_to_be_alone_tries_a_suspect_at_once(tmp_path: Path) -> None:
    node = Node(tmp_path, has_siblings=False)
    before = node.replica("m~a")
    node.die(before, mark(1), note="Fatal Python error: Segmentation fault")

    node.suspects.refresh()

    assert node.suspects.standing(mark(1)) is Standing.ALONE


def test_a_suspect_that_a_sibling_tries_now_is_not_tried_here_too(node: Node) -> None:
    first, second = node.replica("m~a"), node.replica("m~b")
    node.suspects.refresh()
    node.die(first, mark(1))

    second.lane(0).begin([mark(1)], began_ns=1, hung_at_ns=2)

    assert node.suspects.standing(mark(1)) is Standing.NOT_NOW


def test_replicas_of_other_models_are_no_siblings(node: Node) -> None:
    other = node.replica("other~a")
    node.suspects.refresh()

    node.die(other, mark(1))

    assert node.suspects.standing(mark(1)) is Standing.CLEAR
