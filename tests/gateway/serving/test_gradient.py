"""The limit binds when requests need all of their time, and not before: in simulated time."""

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.serving.gradient import LEAST_ROWS, SAMPLES, WINDOW_NS, GradientLimit
from gateway.serving.versions import LoadedVersion, load_version
from models.signing import SigningKey
from tests.gateway.serving.conftest import table
from tests.gateway.serving.poison import build_lookup
from tests.gateway.serving.virtual_time import Ended, Replica, VirtualLoop

MS = 1_000_000
Simulate = Callable[[Callable[[Replica], Coroutine[Any, Any, None]]], Replica]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> tuple[Any, LoadedVersion]:
    bundle = build_lookup(tmp_path_factory.mktemp("lookup"), key)
    routing = table(bundle)
    return routing, load_version(routing.versions[0], bundle.path, salt=b"salt of the tests")


@pytest.fixture
def simulate(loaded: tuple[Any, LoadedVersion]) -> Iterator[Simulate]:
    """Run a scenario on a replica in virtual time."""
    loops = []

    def run(scenario: Callable[[Replica], Coroutine[Any, Any, None]]) -> Replica:
        routing, live = loaded
        loops.append(loop := VirtualLoop())
        replica = Replica(loop, live, routing)
        loop.run_until_complete(scenario(replica))
        return replica

    yield run
    for loop in loops:
        loop.close()


def per_row(row_s: float) -> Callable[[int], float]:
    return lambda rows: row_s * rows


def answered_per_s(ended: list[Ended], seconds: float) -> float:
    return sum(one.is_answered for one in ended) / seconds


def in_vain(ended: list[Ended]) -> list[Ended]:
    """Pick the requests that were let in and then not answered."""
    return [one for one in ended if not one.is_shed and not one.is_answered]


@pytest.mark.parametrize("clients", [64, 256])
def test_a_tiny_model_under_many_clients_is_never_limited(simulate: Simulate, clients: int) -> None:
    # At 256 clients a request waits 25 times as long as a lone one, and all is well.
    async def scenario(replica: Replica) -> None:
        tiny = replica.version(lambda rows: 0.0002 + 0.00002 * rows)
        await replica.closed_loop(tiny, clients=clients, for_s=0.5, budget_s=0.1)

    replica = simulate(scenario)

    assert all(one.is_answered for one in replica.ended)
    assert np.median([one.took_s for one in replica.ended]) > 4 * 0.00022
    assert replica.admission.limit.rows == math.inf


def test_overload_by_ten_leaves_nine_tenths_of_the_capacity_and_every_deadline(
    simulate: Simulate,
) -> None:
    async def scenario(replica: Replica) -> None:
        steady = replica.version(per_row(0.02))  # 50 a second
        await replica.open_loop(steady, per_s=500, for_s=30, budget_s=0.2)

    replica = simulate(scenario)

    assert answered_per_s(replica.ended, 30) >= 0.9 * 50
    let_in = [one for one in replica.ended if not one.is_shed]
    assert len(in_vain(replica.ended)) <= 0.001 * len(let_in)
    assert max(one.took_s for one in let_in) <= 0.2
    assert all(one.took_s == 0 for one in replica.ended if one.is_shed)


def test_five_seconds_after_an_overload_nothing_is_left_of_it(simulate: Simulate) -> None:
    """Chance sheds a request now and then; the same arrivals without a past tell it apart."""
    shed = {}
    for overload_per_s in (500, 25):

        async def scenario(replica: Replica, per_s: float = overload_per_s) -> None:
            steady = replica.version(per_row(0.02))
            await replica.open_loop(steady, per_s=per_s, for_s=10, budget_s=0.2)
            await asyncio.sleep(15 - replica.loop.time())
            await replica.open_loop(steady, per_s=30, for_s=40, budget_s=0.2, seed=1)

        replica = simulate(scenario)
        after = [one for one in replica.ended if one.sent_s >= 15]
        shed[overload_per_s] = sum(one.is_shed for one in after) / len(after)

    assert shed[500] <= shed[25] + 0.002


def test_a_model_ten_times_slower_is_limited_within_seconds_and_freed_again(
    simulate: Simulate,
) -> None:
    slowness, seen = 1.0, {}

    async def scenario(replica: Replica) -> None:
        nonlocal slowness
        model = replica.version(lambda rows: 0.002 * slowness * rows)
        load = asyncio.ensure_future(replica.open_loop(model, per_s=100, for_s=20, budget_s=0.2))
        for end_s, slowness in ((5, 1.0), (15, 10.0), (20, 1.0)):  # noqa: B007  read by the model
            while replica.loop.time() < end_s:
                await asyncio.sleep(0.5)
                seen[replica.loop.time()] = replica.admission.limit.rows
        await load

    replica = simulate(scenario)

    assert seen[5] == math.inf
    assert all(LEAST_ROWS <= rows <= 20 for at_s, rows in seen.items() if 8 <= at_s <= 15)
    assert seen[17] == math.inf
    assert answered_per_s(replica.between(7, 15), 8) >= 0.9 * 50
    assert all(one.is_answered for one in replica.between(18, 20))


@pytest.mark.parametrize("is_limited", [True, False])
def test_where_the_prediction_is_blind_the_limit_alone_keeps_waiting_in_vain_rare(
    simulate: Simulate, is_limited: bool
) -> None:
    async def scenario(replica: Replica) -> None:
        model = replica.version(per_row(0.02))
        replica.batcher.predicted_wait_ns = lambda version: 0.0  # type: ignore[method-assign]
        if not is_limited:
            replica.admission.limit.observe = lambda **_: None  # type: ignore[method-assign]
        await replica.open_loop(model, per_s=500, for_s=10, budget_s=0.2)

    replica = simulate(scenario)
    settled = replica.between(3, 10)

    let_in = [one for one in settled if not one.is_shed]
    assert (len(in_vain(settled)) < 0.2 * len(let_in)) is is_limited
    if is_limited:
        assert answered_per_s(settled, 7) >= 0.8 * 50


def test_a_model_that_needs_most_of_the_budget_by_itself_is_not_throttled_for_it(
    simulate: Simulate,
) -> None:
    async def scenario(replica: Replica) -> None:
        heavy = replica.version(lambda rows: 0.15)  # whatever the batch
        await replica.open_loop(heavy, per_s=1000, for_s=10, budget_s=0.2)

    replica = simulate(scenario)

    assert replica.admission.limit.rows == math.inf
    # Two in three of the batches' 45 ms in which an arrival can still be in time.
    assert answered_per_s(replica.ended, 10) >= 100


@given(peaks=st.lists(st.integers(1, 10_000), min_size=1, max_size=50))
def test_however_late_all_are_the_model_is_not_starved(peaks: list[int]) -> None:
    now_ns = 0
    limit = GradientLimit(now_ns=lambda: now_ns)
    for peak_rows in peaks:
        began_ns, now_ns = now_ns, now_ns + WINDOW_NS
        for _ in range(SAMPLES):
            limit.observe(began_ns=began_ns, left_ns=-1, round_ns=0, in_flight_rows=peak_rows)
        assert limit.rows >= LEAST_ROWS


@given(shares=st.lists(st.floats(0, 0.49), min_size=1, max_size=200))
def test_there_is_no_limit_while_nobody_needs_half_of_his_time(shares: list[float]) -> None:
    now_ns = 0
    limit = GradientLimit(now_ns=lambda: now_ns)
    for share in shares:
        began_ns, now_ns = now_ns, now_ns + int(share * 1000 * MS)
        limit.observe(began_ns=began_ns, left_ns=1000 * MS, round_ns=0, in_flight_rows=9)
        assert limit.rows == math.inf


def test_who_was_let_in_before_a_change_does_not_count_against_it() -> None:
    now_ns = 0
    limit = GradientLimit(now_ns=lambda: now_ns)

    def crowd() -> None:
        for _ in range(SAMPLES):
            limit.observe(began_ns=0, left_ns=now_ns, round_ns=0, in_flight_rows=100)

    now_ns = WINDOW_NS
    crowd()
    first = limit.rows
    now_ns += 2 * WINDOW_NS
    crowd()

    assert first == pytest.approx(90)
    assert limit.rows == first
