"""The recorder's watch over the replicas of its node: it ends the hung and reports the dead.

From outside, because nobody inside can: a thread that never lets the interpreter's lock go, or a
stopped process, silences every watchdog of its own.  What it looks at is progress: when the
running batch began, and when the event loop last turned (`gateway.record.inflight`).
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from gateway.record.inflight import (
    Flight,
    ForeignFileError,
    Running,
    list_flights,
    model_of,
    note_path,
)
from gateway.record.metrics import Metrics

LOOK_S = 0.5
OVERSLEPT_S = 2.0  # a watchman who was not awake himself accuses nobody of not moving
# The event loop of a replica turns many times a second.  Longer than a batch may take: a library
# that is loaded for a new version may hold the interpreter's lock for seconds.
BEAT_LIMIT_S = 4.0
# Suspicion grows to certainty: the last replica of a model is left to come back by itself for so
# many times the limit; by then all its callers have been failing for half a minute or more.
CERTAIN = 10.0
HUNG = "hung"
_log = logging.getLogger(__name__)


class DeathBook(Protocol):
    """Where deaths are entered; `gateway.registry.deaths.Deaths` is it."""

    def add(
        self, model: str, writer: str, fingerprints: Sequence[bytes], *, told: bool
    ) -> list[bytes]:
        """Enter a death; return what it puts into quarantine."""


def overdue(heartbeat_ns: int, running: Sequence[Running], now_ns: int) -> float:
    """Say how long a replica makes no progress, in units of what it is allowed; 1 is hung."""
    spans = [(now_ns - heartbeat_ns) / (BEAT_LIMIT_S * 1e9)]
    for batch in running:
        allowed_ns = max(batch.hung_at_ns - batch.began_ns, 1)
        spans.append((now_ns - batch.began_ns) / allowed_ns)
    return max(spans)


def condemn(replicas: Mapping[str, float]) -> list[str]:
    """Pick the replicas of one model that must go, the longest overdue first.

    One always stays, healthy or not, until there is no doubt left.

    Args:
        replicas: Those that serve, with what `overdue` says of each.
    """
    hung = sorted((name for name in replicas if replicas[name] >= 1), key=lambda n: -replicas[n])
    spared = hung[-1:] if len(hung) == len(replicas) else []
    return [name for name in hung if name not in spared or replicas[name] >= CERTAIN]


class Watch:
    """Looks at the in-flight files of a node.  Used from one thread."""

    def __init__(
        self,
        directory: Path,
        book: DeathBook,
        metrics: Metrics,
        *,
        kill: Callable[[int, int], None] = os.kill,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._directory = directory
        self._book = book
        self._metrics = metrics
        self._kill = kill
        self._now_ns = now_ns
        self._looked_ns = now_ns()
        self._condemned: set[str] = set()  # by the last look

    def look(self) -> None:
        """Report who died and end who hangs.

        Raises:
            Exception: what the book raised; the file is there for the next look.
        """
        living: dict[str, dict[str, Flight]] = {}  # by model
        for path in list_flights(self._directory):
            try:
                flight = Flight.read(path)
            except (FileNotFoundError, ForeignFileError):
                continue
            if flight.is_dead():
                self._bury(flight)
            elif flight.heartbeat_ns:
                living.setdefault(model_of(flight.writer), {})[flight.writer] = flight
        self._judge(living)

    def _bury(self, flight: Flight) -> None:
        """Enter what a dead replica was computing; one that was idle leaves no trace."""
        model = model_of(flight.writer)
        held = [one for batch in flight.running() for one in batch.fingerprints]
        if held:
            note = flight.note()
            cause = HUNG if note.startswith(HUNG) else "crashed" if note else "ended"
            _log.error("replica %s died (%s) with %d in flight", flight.writer, cause, len(held))
            if note:
                _log.error("replica %s said last: %s", flight.writer, note)
            new = self._book.add(model, flight.writer, held, told=bool(note))
            self._metrics.bury(model, cause, quarantined=len(new))
        flight.remove()

    def _judge(self, living: Mapping[str, Mapping[str, Flight]]) -> None:
        """End what two looks in a row find hung."""
        now_ns = self._now_ns()
        slept_s = (now_ns - self._looked_ns) / 1e9
        self._looked_ns = now_ns
        if slept_s > OVERSLEPT_S:
            self._condemned.clear()
            return
        condemned: set[str] = set()
        for flights in living.values():
            spans = {
                writer: overdue(flight.heartbeat_ns, flight.running(), now_ns)
                for writer, flight in flights.items()
            }
            for writer in condemn(spans):
                condemned.add(writer)
                if writer in self._condemned:
                    self._end(flights[writer], spans[writer])
        self._condemned = condemned

    def _end(self, flight: Flight, span: float) -> None:
        """Kill a replica that still holds its lock, so its process id is still its own."""
        _log.error("replica %s hangs (%.1f times its limit): it is ended", flight.writer, span)
        note_path(self._directory, flight.writer).write_text(HUNG)
        self._kill(flight.pid, signal.SIGKILL)


class WatchThread:
    """Looks every half second, beside the recorder's cycles, which may take longer."""

    def __init__(
        self,
        watch: Watch,
        *,
        may_look: Callable[[], bool],
        fail: Callable[[str, Exception], None],
    ) -> None:
        self._watch = watch
        self._may_look = may_look
        self._fail = fail
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            try:
                if self._may_look():
                    self._watch.look()
            except Exception as error:  # noqa: BLE001 - whatever it was, the watch must go on
                self._fail("watch", error)
