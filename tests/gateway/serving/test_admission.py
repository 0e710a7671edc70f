"""Who is let in, in which order the questions come, and who goes first under pressure."""

import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ShedError
from gateway.serving.admission import Admission, Permit, share_of
from gateway.serving.cost import BatchCost

MS = 1_000_000


@dataclass
class Queue:
    """Stands where the batcher stands: a queue of so many rows, a thread busy for so long."""

    queued_rows: int = 0
    wait_ns: float = 0.0

    def predicted_wait_ns(self, version: Any) -> float:
        return self.wait_ns


@dataclass
class Door:
    """An admission with room for 100 queued rows, and a model of 10 ms per batch."""

    queue: Queue = field(default_factory=Queue)
    now_ns: int = 0

    def __post_init__(self) -> None:
        cost = BatchCost()
        for rows in (2**k for k in range(9)):
            cost.model.observe(rows, 10 * MS)
        self.version: Any = SimpleNamespace(manifest=SimpleNamespace(name="m"), cost=cost)
        self.admission = Admission(
            self.queue,  # type: ignore[arg-type]
            max_queued_rows=100,
            now_ns=lambda: self.now_ns,
        )

    def admit(self, *, rows: int = 1, left_ms: float = 100, priority: int = 0) -> Permit:
        return self.admission.admit(
            self.version,
            rows=rows,
            left_ns=int(left_ms * MS),
            priority=priority,
        )

    def is_shed(self, **request: Any) -> bool:
        try:
            self.admit(**request)
        except ShedError:
            return True
        return False


@pytest.fixture
def door() -> Door:
    return Door()


HUGE = {"rows": 10**6, "left_ms": 0.001}


def test_who_finds_nobody_before_him_is_always_let_in(door: Door) -> None:
    door.queue.wait_ns = math.inf
    door.admission.limit.rows = 1.0

    assert not door.is_shed(**HUGE)


def test_a_permit_counts_only_while_it_is_held(door: Door) -> None:
    admission, seen = door.admission, []

    def look() -> None:
        seen.append((admission.in_flight, admission.in_flight_rows))

    def break_off() -> None:
        with door.admit(rows=4):
            look()
            raise ConnectionError

    with door.admit(rows=3):
        door.admit(rows=5)  # never entered
        with pytest.raises(ConnectionError):
            break_off()
        look()
    look()

    assert seen == [(2, 7), (1, 3), (0, 0)]


def test_rows_in_flight_are_bounded_by_the_limit(door: Door) -> None:
    door.admission.limit.rows = 10.0
    with door.admit(rows=8):
        assert not door.is_shed(rows=50)  # what is before it counts, not how large it is
        with door.admit():
            assert door.is_shed()


def test_rows_queued_are_bounded(door: Door) -> None:
    with door.admit():
        assert not door.is_shed(rows=1000)  # an empty queue has room for one of any size
        door.queue.queued_rows = 80
        assert not door.is_shed(rows=10)
        assert door.is_shed(rows=11)


def test_who_would_wait_too_long_is_sent_away_at_once(door: Door) -> None:
    with door.admit():
        door.queue.wait_ns = 80 * MS
        assert not door.is_shed(left_ms=100)  # 10 ms of its own leave 90, of which it may wait 81
        assert door.is_shed(left_ms=98)


def test_who_joins_a_batch_that_waits_already_pays_only_what_it_adds(door: Door) -> None:
    with door.admit():
        door.queue.wait_ns, door.queue.queued_rows = 80 * MS, 3
        assert not door.is_shed(left_ms=90)
        assert door.is_shed(left_ms=88)


def test_the_error_says_when_the_queue_will_be_empty(door: Door) -> None:
    with door.admit():
        door.queue.wait_ns = 3.2e9
        with pytest.raises(ShedError) as caught:
            door.admit()

    assert (caught.value.model, caught.value.retry_after_s) == ("m", 4)


@given(
    busy=st.booleans(),
    wait_ms=st.floats(0, 200),
    queued=st.integers(0, 120),
    limit=st.floats(4, 50),
    rows_before=st.integers(1, 50),
    left_ms=st.floats(-10, 300),
)
def test_no_class_gets_in_where_a_higher_one_does_not(
    busy: bool,
    wait_ms: float,
    queued: int,
    limit: float,
    rows_before: int,
    left_ms: float,
) -> None:
    door = Door(Queue(queued, wait_ms * MS))
    door.admission.limit.rows = limit
    if busy:
        door.admit(rows=rows_before).__enter__()

    is_shed = [door.is_shed(left_ms=left_ms, priority=priority) for priority in (1, 0, 2, 7)]

    assert is_shed == sorted(is_shed)
    assert is_shed[2] == is_shed[3]


def test_the_lowest_classes_are_shed_first(door: Door) -> None:
    door.admission.limit.rows = 10.0
    with door.admit(rows=8):
        assert door.is_shed(priority=2)
        assert not door.is_shed()


def test_the_highest_class_has_a_tenth_to_itself(door: Door) -> None:
    door.admission.limit.rows = 10.0
    with door.admit(rows=9):
        assert door.is_shed()
        assert not door.is_shed(priority=1)
    assert share_of(1) == 1.0


def test_latencies_of_answered_requests_set_the_limit_and_those_of_broken_off_ones_do_not(
    door: Door,
) -> None:
    def crowd(error: BaseException | None) -> None:
        permits = [door.admit() for _ in range(20)]
        for permit in permits:
            permit.__enter__()
        door.now_ns += 100 * MS
        for permit in permits:
            permit.__exit__(None if error is None else type(error), error, None)

    crowd(ConnectionError())
    assert door.admission.limit.rows == math.inf
    crowd(None)
    assert door.admission.limit.rows < 20
