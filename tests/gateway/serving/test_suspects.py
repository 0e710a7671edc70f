"""Inputs found at a death are asked alone, wait, or are refused, from the first repeat on."""

import asyncio
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.exc import OperationalError

from gateway.record.inflight import Flight, note_path
from gateway.record.lock import FileLock
from gateway.record.segments import lock_path
from gateway.registry.deaths import Deaths
from gateway.serving.fingerprint import Fingerprints
from gateway.serving.suspects import WAIT_S, Standing, Suspects
from models.signing import SigningKey
from tests.gateway.serving.conftest import Serve, Served
from tests.gateway.serving.poison import build_lookup

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
    model: str = "m"
    has_siblings: bool = True
    now_ns: int = 1000 * S
    now_s: float = 1e9
    locks: dict[str, FileLock] = field(default_factory=dict)

    def __post_init__(self) -> None:
        url = f"sqlite:///{self.directory}/handrail.db"
        self.deaths = Unreachable(url, clock_s=lambda: self.now_s)
        self.own = self.replica(f"{self.model}~own")
        self.suspects = Suspects(
            self.model,
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
    assert node.suspects.standing(mark(1)) is Standing.NOT_NOW  # HAProxy may not know it yet
    second.lane(0).begin([mark(9)], began_ns=1, hung_at_ns=2)
    second.lane(0).end()
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


PRINTS = Fingerprints("lookup", key=b"the key of the tests")
BODY = {"inputs": [{"name": "place", "shape": [1, 1], "datatype": "FP32", "data": [3]}]}
PLACE = PRINTS.of({"place": np.array([[3]], np.float32)})


@pytest.fixture
def lookup_node(tmp_path: Path) -> Node:
    return Node(tmp_path, model="lookup")


@pytest.fixture
async def lookup(serve: Serve, lookup_node: Node, key: SigningKey, tmp_path: Path) -> Served:
    bundle = build_lookup(tmp_path / "bundles", key)
    served: Served = await serve(
        bundle, suspects=lookup_node.suspects, flight=lookup_node.own, inline_below_us=0
    )
    return served


async def test_quarantined_inputs_get_422_and_a_record(lookup: Served, lookup_node: Node) -> None:
    for writer in ("lookup~a", "lookup~b"):
        lookup_node.deaths.add("lookup", writer, [PLACE], told=False)
    lookup_node.suspects.refresh()

    answer = await lookup.client.post("/infer", json=BODY)

    assert (answer.status_code, answer.json()["code"]) == (422, "request_quarantined")
    assert [decision.code for decision in lookup.kept.decisions] == ["request_quarantined"]


async def test_a_suspect_is_answered_and_with_that_forgotten(
    lookup: Served, lookup_node: Node
) -> None:
    lookup_node.deaths.add("lookup", "lookup~a", [PLACE], told=False)
    lookup_node.suspects.refresh()

    answer = await lookup.client.post("/infer", json=BODY)

    assert answer.json()["outputs"][0]["data"] == [4.0]
    for _ in range(100):
        if not lookup_node.deaths.of("lookup"):
            break
        await asyncio.sleep(0.05)
    assert lookup_node.suspects.standing(PLACE) is Standing.CLEAR


async def test_without_a_ladder_a_suspect_of_a_crash_is_asked_to_come_back(
    lookup: Served, lookup_node: Node
) -> None:
    lookup_node.deaths.add("lookup", "lookup~a", [PLACE], told=True)
    lookup_node.suspects.refresh()

    answer = await lookup.client.post("/infer", json=BODY)

    assert (answer.status_code, answer.json()["code"]) == (503, "crash_suspect")
    assert answer.headers["retry-after"] == "5"


async def test_what_is_being_computed_is_in_the_file_and_what_waits_is_not(
    lookup: Served, lookup_node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = lookup.versions.view.live.runtime
    predict, begun, go_on = runtime.predict, threading.Event(), threading.Event()

    def slowly(*args: object, **kwargs: object) -> object:
        begun.set()
        go_on.wait(10)
        return predict(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(runtime, "predict", slowly)
    running = asyncio.ensure_future(lookup.client.post("/infer", json=BODY))
    await asyncio.to_thread(begun.wait, 10)
    other = {"inputs": [{**BODY["inputs"][0], "data": [5]}]}
    waiting = asyncio.ensure_future(lookup.client.post("/infer", json=other))
    await asyncio.sleep(0.1)

    [batch] = lookup_node.own.running()
    go_on.set()
    await asyncio.gather(running, waiting)

    assert batch.fingerprints == (PLACE,)
    assert batch.hung_at_ns - batch.began_ns == 4 * S  # twice the budget, which is more than 3 s
    assert lookup_node.own.running() == []
