"""The kinds of hang, in real processes, under the real watch: each is seen from outside."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.record.inflight import Flight, flight_path
from gateway.record.metrics import Metrics
from gateway.record.watch import LOOK_S, Watch
from tests.gateway.record.test_watch import Book, mark

REPLICA = """
    import asyncio, ctypes, sys, threading, time
    from pathlib import Path
    from gateway.record.inflight import Flight
    from gateway.record.lock import FileLock
    from gateway.record.segments import lock_path

    directory, writer, how = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    lock = FileLock.take(lock_path(directory, writer))
    flight = Flight.create(directory, writer=writer, slots=8)

    def deadlock():
        once = threading.Lock()
        once.acquire()
        once.acquire()

    def loop():
        while True:
            pass

    hangs = {
        "loops": loop,
        "sleeps": lambda: time.sleep(600),
        "deadlocks": deadlock,
        "keeps the interpreter's lock": lambda: ctypes.PyDLL(None).sleep(600),
    }

    async def serve():
        flight.beat(time.monotonic_ns())
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        if how in hangs:
            now_ns = time.monotonic_ns()
            batch = [(7).to_bytes(16, "big")]
            flight.lane(0).begin(batch, began_ns=now_ns, hung_at_ns=now_ns + 5 * 10**9)
            threading.Thread(target=hangs[how], daemon=True).start()
        while True:
            flight.beat(time.monotonic_ns())
            await asyncio.sleep(0.1)

    asyncio.run(serve())
"""
HOWS = ("loops", "sleeps", "deadlocks", "keeps the interpreter's lock", "is stopped")
HEALTHY = "is well"


@pytest.fixture
def replicas(tmp_path: Path) -> "Iterator[dict[str, subprocess.Popen[bytes]]]":
    """Start a replica for each kind of hang, and a healthy one."""
    code = textwrap.dedent(REPLICA)
    started = {
        how: subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), f"m~{i}", how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for i, how in enumerate((*HOWS, HEALTHY))
    }
    for process in started.values():
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="SIGSTOP and PyDLL as on Linux")
def test_every_kind_of_hang_is_ended_within_ten_seconds_and_the_healthy_one_stays(
    tmp_path: Path, replicas: "dict[str, subprocess.Popen[bytes]]"
) -> None:
    book = Book()
    watch = Watch(tmp_path, book, Metrics(lag_s=lambda: 0.0))
    for how, process in replicas.items():
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
        if how == "is stopped":
            os.kill(process.pid, signal.SIGSTOP)
    began_s = time.monotonic()
    while time.monotonic() - began_s < 10 and any(replicas[how].poll() is None for how in HOWS):
        time.sleep(LOOK_S)
        watch.look()
    watch.look()

    assert {how: replicas[how].poll() for how in HOWS} == dict.fromkeys(HOWS, -signal.SIGKILL)
    assert replicas[HEALTHY].poll() is None
    assert not Flight.read(flight_path(tmp_path, f"m~{len(HOWS)}")).is_dead()
    # The stopped one was computing nothing, so nobody is to blame.
    assert sorted(entry[1] for entry in book.entries) == ["m~0", "m~1", "m~2", "m~3"]
    assert all(entry[2:] == ((mark(7),), True) for entry in book.entries)
