"""Inputs that end or hang a replica, on real Ray behind real HAProxy."""

import os
import signal
import sys
import time
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from gateway.client import Answer, AnswerError, Client
from gateway.record.evidence import Evidence
from gateway.registry.keys import local_signing_key
from models.signing import SigningKey
from tests.e2e.conftest import Running, gateway, wait_for
from tests.e2e.load import load
from tests.gateway.serving.killer import CRASH, HANG, build_killer

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="HAProxy and /proc are Linux's"),
]

ENDED_S = 8.0  # 4 s of no progress, two looks; with all else that a test machine does
RESTART_S = 60.0  # with all else that a test machine does
CLIENTS = 3
ROWS = np.arange(2, 34, dtype=np.float32)[:, None]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Iterator[Running]:
    """Two replicas of a model with a ladder; each test waits until both are well.

    The model runs on its thread, however quick it is, so that a loop leaves the event loop alone.
    """
    root = tmp_path_factory.mktemp("crash")
    local_signing_key(root / "state" / "keys")
    key.publish(root / "state" / "keys" / "trusted")
    bundle = build_killer(root / "bundles", key, ladder=True)
    settings = {"HANDRAIL__SERVING__REPLICAS": "2", "HANDRAIL__SERVING__INLINE_BELOW_US": "0"}
    with gateway(root / "state", **settings) as running:
        with running.client() as client:
            client.register(bundle.path, as_="live")
        yield running


def replicas(running: Running) -> set[int]:
    """Find the processes that serve the model."""
    found = set()
    for process in psutil.Process(running.process.pid).children(recursive=True):
        try:
            if "ServeReplica:model-killer" in " ".join(process.cmdline()):
                found.add(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def well(running: Running) -> set[int]:
    """Wait until two replicas have in-flight files with a heartbeat."""
    from gateway.record.inflight import Flight, list_flights

    def serving() -> set[int]:
        flights = []
        for path in list_flights(running.state / "journal"):
            try:
                flights.append(Flight.read(path))
            except FileNotFoundError:
                continue
        now_ns = time.monotonic_ns()
        return {
            flight.pid
            for flight in flights
            if now_ns - flight.heartbeat_ns < 2e9 and not flight.is_dead()
        }

    wait_for(lambda: len(serving()) == 2, RESTART_S)
    time.sleep(1.5)  # HAProxy has both, and each knows the other
    return serving()


def ask(running: Running, row: float) -> Answer | str:
    """Ask on a connection of its own: an old one belongs to a HAProxy that knows old replicas."""
    with Client(running.url) as client:
        try:
            return client.infer("killer", {"x": np.array([[row]], np.float32)})
        except AnswerError as error:
            return error.code


def tried(running: Running, row: float) -> str:
    """Ask until it is tried; while no second replica is known to be well, the ladder answers."""
    until_s = time.monotonic() + RESTART_S
    while isinstance(got := ask(running, row), Answer):
        assert time.monotonic() < until_s, "the ladder answers for ever"
        time.sleep(0.5)
    return got


def test_inputs_that_crash_a_replica_do_so_twice_at_most_and_hurt_nobody_else(
    running: Running,
) -> None:
    before = well(running)
    with running.client() as client, load(running.url, "killer", {"x": ROWS}) as seen:
        time.sleep(1)  # both have had requests
        first = ask(running, CRASH)
        survivors = before & replicas(running)
        wait_for(lambda: len(replicas(running) - before) == 1, RESTART_S)
        between = well(running)
        second = tried(running, CRASH)
        time.sleep(1)
        third = ask(running, CRASH)
        listed = client.quarantine("killer")
        time.sleep(2)
        fourth = ask(running, CRASH)
        died = (before | between) - replicas(running)

    assert isinstance(first, Answer)  # the repeat found out, and left it to the ladder
    assert first.served_by == "fallback:constant"
    assert first.parameters["fallback_reason"] == "crash_suspect"
    assert len(survivors) == 1
    assert second == third == fourth == "request_quarantined"
    assert [found["deaths"] for found in listed] == [2]
    assert len(died) == 2
    assert not seen.failed
    own = [got for _, got in seen.answers if got.served_by == "model"]
    assert len(own) > 0.95 * len(seen.answers)


def test_a_lifted_quarantine_is_over_within_seconds(running: Running) -> None:
    well(running)
    with running.client() as client:
        [found] = client.quarantine("killer")
        client.lift("killer", found["fingerprint"])

        assert client.quarantine("killer") == []


@pytest.mark.parametrize("how", ["loop", "stopped"])
def test_a_hung_replica_is_ended_in_seconds_and_replaced(running: Running, how: str) -> None:
    before = well(running)
    with load(running.url, "killer", {"x": ROWS}) as seen:
        began_s = time.monotonic()
        if how == "loop":
            got = ask(running, HANG)
            assert isinstance(got, Answer)
            assert got.served_by == "fallback:constant"
            assert time.monotonic() - began_s < 1
        else:
            os.kill(min(before), signal.SIGSTOP)
        wait_for(lambda: len(before & replicas(running)) == 1, 20)
        ended_s = time.monotonic() - began_s
        after = well(running)
        replaced_s = time.monotonic() - began_s

    print(f"hung by {how}: ended after {ended_s:.1f} s, two again after {replaced_s:.1f} s")
    assert ended_s < ENDED_S
    assert len(after - before) == 1
    assert not seen.failed


def test_while_no_replica_is_up_the_constant_answers_and_is_recorded(running: Running) -> None:
    before = well(running)
    with load(running.url, "killer", {"x": ROWS}, clients=CLIENTS) as seen:
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        well(running)
        asked: list[Answer] = []

        def is_back() -> bool:  # HAProxy hears of a replica a little after it is well
            got = ask(running, 2.0)
            assert isinstance(got, Answer)
            asked.append(got)
            return got.served_by == "model"

        wait_for(is_back, 20)

    # A connection from before belongs to a HAProxy that knows the old replicas only.
    assert len(seen.failed) <= CLIENTS
    answers = [*(got for _, got in seen.answers), *asked]
    stood_in = [got for got in answers if got.served_by != "model"]
    assert {got.parameters["fallback_reason"] for got in stood_in} == {"no_replica"}
    assert {got.served_by for got in stood_in} == {"fallback:constant"}
    evidence = Evidence(str(running.state / "evidence"))

    def recorded() -> set[str]:
        decisions = (decision for _, decision in evidence.read(since_ns=0))
        return {d.prediction_id for d in decisions if d.fallback_reason == "no_replica"}

    wait_for(lambda: recorded() == {got.prediction_id for got in stood_in}, 20)
