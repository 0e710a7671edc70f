"""The recorder: one per node, it turns the journal into evidence, metrics and spans.

Each cycle, in this order: read what is new in every segment; commit it to the evidence;
count it; draw the spans of what is kept; delete segments that are finished.  Evidence
comes before spans, so that whoever a span notifies finds its row.  A recorder that dies
loses nothing: the next one goes on after the last record that the evidence holds, and
adopts the segments of replicas that died.  Beside the cycles, it watches over the replicas.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from gateway.background import step_back
from gateway.config import MIB, RecordSettings
from gateway.record.decision import Decision, decode
from gateway.record.evidence import Evidence
from gateway.record.expectation_signal import NO_EXPECTATIONS, ExpectationBook
from gateway.record.exporters import open_outlets
from gateway.record.keep import Keeper
from gateway.record.lock import FileLock
from gateway.record.loop_signal import NO_LOOPS, LoopBook
from gateway.record.metrics import Metrics, MetricsServer
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
from gateway.record.spans import SpanReplay
from gateway.record.traffic import TrafficBook, TrafficTotal, decode_traffic, is_traffic
from gateway.record.watch import DeathBook, Watch, WatchThread

_CYCLE_BYTES_MAX = 32 * MIB  # read in one cycle at most
_COMMITS_PER_MAINTENANCE = 200
_BACK_OFF_MAX_S = 10.0
_FLUSH_MS = 5000
_log = logging.getLogger(__name__)


@dataclass
class _Harvest:
    """What one cycle read."""

    decisions: list[Decision] = field(default_factory=list)
    traffic: list[TrafficTotal] = field(default_factory=list)
    through: dict[str, int] = field(default_factory=dict)  # segment -> last seq read
    finished: list[Segment] = field(default_factory=list)
    corrupt: list[Segment] = field(default_factory=list)
    more: bool = False  # there was more than one cycle reads
    unread: list[Segment] = field(default_factory=list)  # could not be read now


class Recorder:
    """Reads the journal of one node in a background thread.

    A second recorder on the same journal waits until the first is gone.
    """

    def __init__(
        self,
        settings: RecordSettings,
        *,
        journal_dir: Path,
        evidence_url: str,
        evaluator_endpoint: str | None,
        deaths: DeathBook,
        traffic: TrafficBook,
        loops: LoopBook = NO_LOOPS,
        expectations: ExpectationBook = NO_EXPECTATIONS,
        in_background: bool = False,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        if in_background:  # requests go before records
            step_back()
        journal_dir.mkdir(parents=True, exist_ok=True)
        self._directory = journal_dir
        self._poll_s = settings.poll_ms / 1000
        self._clock_ns = clock_ns
        self._evidence = Evidence(evidence_url, clock_ns=clock_ns)
        self._metrics = Metrics(lag_s=self._lag_s, loops=loops, expectations=expectations)
        self._server = MetricsServer(self._metrics.registry, port=settings.metrics_port)
        self._keeper = Keeper(settings, clock_s=time.monotonic)
        self._outlets = open_outlets(evaluator_endpoint, self._settle_spans)
        self._replay = SpanReplay(self._outlets, trace_share=settings.trace_share)
        self._traffic = traffic
        self._unentered: dict[tuple[str, str, str, str], TrafficTotal] = {}  # by source
        self._lock: FileLock | None = None
        self._cursors: dict[str, int] = {}  # segment -> last seq in the evidence
        self._tainted: set[str] = set()  # segments with records that could not be decoded
        self._counts = dict.fromkeys(("records", "undecodable", "adopted", "failures"), 0)
        self._spans = dict.fromkeys(("exported", "queue_full", "export_failed"), 0)
        self._commits = 0
        self._caught_up_ns = clock_ns()  # everything that was answered before is in the evidence
        self._one_cycle = threading.Lock()
        self._maintenance: threading.Thread | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()
        self._watch = WatchThread(
            Watch(journal_dir, deaths, self._metrics),
            may_look=lambda: self._lock is not None,
            fail=self._fail,
        )

    def metrics_port(self) -> int:
        """Where Prometheus finds the metrics, on loopback."""
        return self._server.port

    def status(self) -> dict[str, float | int | bool]:
        """Say how far it is: lag in s, records, spans by fate, segments adopted, failures."""
        waiting = sum(outlet.waiting for outlet in self._outlets)
        spans = {f"spans_{fate}": count for fate, count in self._spans.items()}
        return {
            "recording": self._lock is not None,
            "lag_s": self._lag_s(),
            "metrics_port": self._server.port,
            "spans_waiting": waiting,
            **self._counts,
            **spans,
        }

    def flush(self) -> None:
        """Record and export everything that is in the journal now."""
        while self.cycle():
            pass
        for outlet in self._outlets:
            outlet.force_flush(_FLUSH_MS)

    def stop(self) -> None:
        """Flush and stop; the journal stays for the next recorder."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._watch.stop()
        self._thread.join()
        for outlet in self._outlets:
            outlet.force_flush(_FLUSH_MS)
            outlet.shutdown()
        if self._maintenance is not None:
            self._maintenance.join()
        self._server.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def cycle(self) -> bool:
        """Run one cycle; say whether there is more to read at once.

        Raises:
            Exception: what the evidence raised; nothing is lost, and the next cycle goes on
                from what the evidence holds.
        """
        with self._one_cycle:
            if self._lock is None:
                self._lock = FileLock.take(self._directory / ".recorder.lock")
                if self._lock is None:
                    return False
            began_ns = self._clock_ns()
            try:
                harvest = self._read()
                if harvest.through:
                    self._commit(harvest)
            except BaseException:
                # It may have been committed all the same: ask the table where to go on.
                self._evidence.refresh()
                self._cursors.clear()
                raise
            if not (harvest.more or harvest.unread):
                self._caught_up_ns = began_ns
            self._clean_up(harvest)
            self._maintain()
            return harvest.more

    def _read(self) -> _Harvest:
        harvest = _Harvest()
        segments = list_segments(self._directory)
        share = _CYCLE_BYTES_MAX // max(len(segments), 1)  # so that none starves the others
        for segment in segments:
            try:
                self._read_segment(segment, harvest, limit_bytes=share)
            except BusySegmentError:
                harvest.unread.append(segment)
            except CorruptSegmentError as error:
                self._fail("segment", error)
                (harvest.corrupt if segment.closed else harvest.unread).append(segment)
            except sqlite3.Error as error:
                self._fail("segment", error)
                harvest.unread.append(segment)
        return harvest

    def _read_segment(self, segment: Segment, harvest: _Harvest, *, limit_bytes: int) -> None:
        after = self._cursor(segment.name)
        records, complete = read_records(segment, after, limit_bytes=limit_bytes)
        for seq, body in records:
            try:
                if is_traffic(body):
                    total = TrafficTotal(segment.writer, decode_traffic(body))
                    harvest.traffic.append(total)
                else:
                    harvest.decisions.append(decode(body))
            except msgspec.DecodeError as error:
                self._tainted.add(segment.name)
                self._counts["undecodable"] += 1
                self._metrics.fail("record")
                _log.error("record %d of %s cannot be decoded: %s", seq, segment.name, error)
        if records:
            harvest.through[segment.name] = records[-1][0]
        if not complete:
            harvest.more = True
        elif segment.closed:
            harvest.finished.append(segment)

    def _cursor(self, segment: str) -> int:
        if segment not in self._cursors:
            self._cursors[segment] = self._evidence.last_seq(segment)
        return self._cursors[segment]

    def _commit(self, harvest: _Harvest) -> None:
        """Make the harvest evidence, then derive metrics and spans from it."""
        self._enter(harvest.traffic)
        self._evidence.append(harvest.decisions, through=harvest.through)
        self._cursors.update(harvest.through)
        self._commits += 1
        self._counts["records"] += len(harvest.decisions)
        self._metrics.add_rows(len(harvest.decisions))
        for decision in harvest.decisions:
            reason = self._keeper.reason(decision)
            self._metrics.observe(decision, kept=bool(reason))
            if reason:
                self._metrics.keep(reason)
                self._replay.draw(decision, reason)
        for reason, requests in self._keeper.take_suppressed().items():
            self._metrics.suppress(reason, requests)

    def _enter(self, totals: Sequence[TrafficTotal]) -> None:
        """Keep what replicas counted; if that fails, the next cycle tries again.

        Before the evidence is committed, as then these records are not read again.
        """
        for total in totals:  # of one source, the last is the largest
            record = total.record
            source = (total.writer, record.model, record.version, record.epoch)
            self._unentered[source] = total
        if not self._unentered:
            return
        try:
            self._traffic.enter(list(self._unentered.values()))
            self._metrics.show_drift(self._traffic.signals())
        except Exception as error:  # noqa: BLE001 - totals: the next ones repair what is lost
            self._fail("traffic", error)
        else:
            self._unentered.clear()

    def _clean_up(self, harvest: _Harvest) -> None:
        """Remove finished segments; keep what could not be understood for a person."""
        for segment in harvest.corrupt:
            set_aside(segment)
        for segment in harvest.finished:
            if segment.name in self._tainted:
                set_aside(segment)
            else:
                delete_segment(segment)
        for segment in harvest.finished + harvest.corrupt:
            self._cursors.pop(segment.name, None)
            self._tainted.discard(segment.name)
        if harvest.finished or harvest.corrupt:
            self._counts["adopted"] += len(forget_dead_writers(self._directory))

    def _maintain(self) -> None:
        """Compact the evidence now and then, beside the cycles: it takes as long as several."""
        busy = self._maintenance is not None and self._maintenance.is_alive()
        if self._commits < _COMMITS_PER_MAINTENANCE or busy:
            return
        self._commits = 0
        self._maintenance = threading.Thread(target=self._compact, name="evidence", daemon=True)
        self._maintenance.start()

    def _compact(self) -> None:
        try:
            self._evidence.maintain()
        except Exception as error:  # noqa: BLE001 - the small files stay, the next turn tries again
            self._fail("maintenance", error)

    def _run(self) -> None:
        """Cycle until stopped, and once more then."""
        wait_s = self._poll_s
        last = False
        while not last:
            last = self._stopping.wait(wait_s)
            try:
                wait_s = 0.0 if self.cycle() else self._poll_s
            except Exception as error:  # noqa: BLE001 - whatever it was, recording must go on
                self._fail("cycle", error)
                wait_s = min(max(wait_s, self._poll_s) * 2, _BACK_OFF_MAX_S)

    def _fail(self, what: str, error: Exception) -> None:
        self._counts["failures"] += 1
        self._metrics.fail(what)
        _log.error("recorder: %s failed, and will be tried again: %r", what, error)

    def _settle_spans(self, outlet: str, fate: str, spans: int) -> None:
        self._spans[fate] += spans
        self._metrics.settle_spans(outlet, fate, spans)

    def _lag_s(self) -> float:
        return max(0.0, (self._clock_ns() - self._caught_up_ns) / 1e9)
