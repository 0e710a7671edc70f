"""The recorder loses nothing, repeats nothing, and nothing stops it."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from deltalake.exceptions import DeltaError

from gateway.config import MIB, RecordSettings
from gateway.record import recorder as recorder_module
from gateway.record.decision import Decision, encode
from gateway.record.evidence import Evidence
from gateway.record.journal import Journal
from gateway.record.recorder import Recorder
from gateway.record.segments import list_segments
from gateway.record.traffic import DriftSignal, TrafficRecord, TrafficTotal, encode_traffic

MakeDecision = Callable[..., Decision]
SLEEPY = RecordSettings(poll_ms=3_600_000)  # cycles only when told to


class Nobody:
    """A book of deaths in which nobody is ever entered."""

    def add(self, *_: Any, **__: Any) -> list[bytes]:
        return []


class NoBook:
    """A book of traffic that keeps nothing; or refuses, while told to."""

    def __init__(self) -> None:
        self.entered: list[TrafficTotal] = []
        self.refuses = False

    def enter(self, totals: Sequence[TrafficTotal]) -> None:
        if self.refuses:
            raise OSError("away")
        self.entered += totals

    def signals(self) -> list[DriftSignal]:
        return [DriftSignal("digits", "3", "reject_rate", 20.0, 15.0, True)]


class Node:
    """A journal directory, an evidence table, and the recorders and writers started on them."""

    def __init__(self, directory: Path) -> None:
        self.journal_dir = directory / "journal"
        self.evidence_url = str(directory / "evidence")
        self.book = NoBook()
        self._recorders: list[Recorder] = []

    def recorder(
        self, settings: RecordSettings = SLEEPY, *, endpoint: str | None = None
    ) -> Recorder:
        recorder = Recorder(
            settings,
            journal_dir=self.journal_dir,
            evidence_url=self.evidence_url,
            evaluator_endpoint=endpoint,
            deaths=Nobody(),
            traffic=self.book,
        )
        self._recorders.append(recorder)
        return recorder

    def journal(self, writer: str = "w", **settings: Any) -> Journal:
        return Journal(self.journal_dir, writer=writer, settings=RecordSettings(**settings))

    def request_ids(self) -> list[str]:
        rows = Evidence(self.evidence_url).read(since_ns=0)
        return sorted(record.request_id for _, record in rows)

    def rows(self) -> int:
        """Count rows, repeated predictions included."""
        table = Evidence(self.evidence_url)._open()
        return 0 if table is None else table.to_pyarrow_dataset().count_rows()

    def close(self) -> None:
        for recorder in self._recorders:
            recorder.stop()


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    node = Node(tmp_path)
    yield node
    node.close()


def write(journal: Journal, *decisions: Decision) -> None:
    for decision in decisions:
        journal.append(encode(decision))
    journal.commit()


def until(condition: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(0.01)


def test_records_become_evidence_within_a_second(node: Node, make_decision: MakeDecision) -> None:
    recorder = node.recorder(RecordSettings())
    journal = node.journal()
    write(journal, *(make_decision(n) for n in range(3)))

    until(lambda: len(node.request_ids()) == 3, timeout_s=1.0)

    assert recorder.status()["records"] == 3
    assert 0 <= recorder.status()["lag_s"] < 1
    journal.close()


def test_a_span_is_sent_only_after_its_evidence_is_committed(
    node: Node, make_decision: MakeDecision, grpc_backend: tuple[str, Any]
) -> None:
    endpoint, backend = grpc_backend
    found: list[int] = []
    take = backend.take

    def look_up(request: Any, headers: dict[str, str]) -> None:
        found.append(len(node.request_ids()))
        take(request, headers)

    backend.take = look_up
    recorder = node.recorder(RecordSettings(trace_share=1.0), endpoint=endpoint)
    journal = node.journal()
    write(journal, make_decision())

    recorder.flush()

    assert found == [1]
    assert len(backend.spans) == 4
    assert recorder.status()["spans_exported"] == 4
    journal.close()


def test_finished_segments_and_dead_writers_leave_nothing_behind(
    node: Node, make_decision: MakeDecision
) -> None:
    recorder = node.recorder()
    living, dying = node.journal("living"), node.journal("dying")
    write(living, make_decision(0))
    write(dying, make_decision(1))
    dying.close()

    recorder.flush()

    assert node.request_ids() == ["request-0", "request-1"]
    names = {path.name for path in node.journal_dir.iterdir()}
    assert not any(name.startswith("dying") for name in names)
    assert {"living.lock", "living-000001.seg"} <= names
    assert recorder.status()["adopted"] == 1
    living.close()


def test_a_new_recorder_repeats_nothing(node: Node, make_decision: MakeDecision) -> None:
    journal = node.journal()
    write(journal, make_decision(0), make_decision(1))
    first = node.recorder()
    first.flush()
    first.stop()
    write(journal, make_decision(2))

    node.recorder().flush()

    assert node.rows() == 3
    journal.close()


def test_a_segment_that_was_committed_but_not_deleted_is_not_read_again(
    node: Node, make_decision: MakeDecision, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(segment: object) -> None:
        raise OSError("killed here")

    journal = node.journal()
    write(journal, make_decision(0))
    journal.close()
    with monkeypatch.context() as patch:
        patch.setattr(recorder_module, "delete_segment", die)
        first = node.recorder()
        with pytest.raises(OSError, match="killed here"):
            first.flush()
        first.stop()
    assert len(list_segments(node.journal_dir)) == 1

    node.recorder().flush()

    assert node.rows() == 1
    assert list_segments(node.journal_dir) == []


def test_a_commit_that_failed_is_repeated_and_one_that_only_seemed_to_is_not(
    node: Node, make_decision: MakeDecision, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = node.recorder()
    journal = node.journal()
    write(journal, make_decision(0))
    append = Evidence.append

    def refuse(self: Evidence, *args: Any, **named: Any) -> int:
        raise DeltaError("disk full")

    def lie(self: Evidence, *args: Any, **named: Any) -> int:
        append(self, *args, **named)
        raise DeltaError("lost the answer")

    for failing, rows in ((refuse, 0), (lie, 1)):
        monkeypatch.setattr(Evidence, "append", failing)
        with pytest.raises(DeltaError):
            recorder.cycle()
        assert node.rows() == rows
    monkeypatch.setattr(Evidence, "append", append)
    write(journal, make_decision(1))

    recorder.flush()

    assert node.rows() == 2
    assert node.request_ids() == ["request-0", "request-1"]
    journal.close()


def test_the_thread_tries_again_after_a_failure_and_says_so(
    node: Node, make_decision: MakeDecision, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Evidence.append
    failures = iter([DeltaError("first"), OSError("second")])

    def fail_twice(self: Evidence, *args: Any, **named: Any) -> int:
        if (error := next(failures, None)) is not None:
            raise error
        return append(self, *args, **named)

    monkeypatch.setattr(Evidence, "append", fail_twice)
    recorder = node.recorder(RecordSettings(poll_ms=5))
    journal = node.journal()
    write(journal, make_decision(0))

    until(lambda: recorder.status()["records"] == 1)

    assert recorder.status()["failures"] == 2
    assert node.rows() == 1
    journal.close()


def test_a_record_that_cannot_be_decoded_stops_nobody_and_is_kept(
    node: Node, make_decision: MakeDecision
) -> None:
    recorder = node.recorder()
    journal = node.journal()
    write(journal, make_decision(0))
    journal.append(b"\xc1 not msgpack")
    write(journal, make_decision(1))
    journal.close()

    recorder.flush()

    assert node.request_ids() == ["request-0", "request-1"]
    assert recorder.status()["undecodable"] == 1
    assert list_segments(node.journal_dir) == []
    with sqlite3.connect(node.journal_dir / "w-000001.bad") as kept:
        assert kept.execute("SELECT body FROM record WHERE seq = 2").fetchone() == (
            b"\xc1 not msgpack",
        )
    kept.close()


def test_a_corrupt_segment_is_set_aside_and_the_others_are_read(
    node: Node, make_decision: MakeDecision
) -> None:
    for n, writer in enumerate(("a", "b", "c")):
        journal = node.journal(writer)
        write(journal, make_decision(n))
        journal.close()
    (node.journal_dir / "b-000001.seg").write_bytes(b"garbage" * 1000)

    recorder = node.recorder()
    recorder.flush()

    assert node.request_ids() == ["request-0", "request-2"]
    assert list_segments(node.journal_dir) == []
    assert (node.journal_dir / "b-000001.bad").exists()
    assert recorder.status()["failures"] == 1


def test_a_journal_larger_than_one_cycle_is_read_in_several(
    node: Node, make_decision: MakeDecision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "_CYCLE_BYTES_MAX", 2000)
    recorder = node.recorder()
    journals = [node.journal("a"), node.journal("b")]
    for n, journal in enumerate(journals):
        write(journal, *(make_decision(100 * n + k) for k in range(50)))

    assert recorder.cycle()
    assert 0 < node.rows() < 20
    recorder.flush()

    assert len(node.request_ids()) == node.rows() == 100
    for journal in journals:
        journal.close()


def test_a_second_recorder_waits_for_the_first(node: Node, make_decision: MakeDecision) -> None:
    journal = node.journal()
    write(journal, make_decision(0))
    first, second = node.recorder(), node.recorder()
    first.flush()

    write(journal, make_decision(1))
    second.flush()
    assert node.rows() == 1
    assert not second.status()["recording"]
    first.stop()  # it reads the rest
    second.flush()

    assert second.status()["recording"]
    assert node.rows() == 2
    journal.close()


def test_a_dead_backend_costs_spans_only(node: Node, make_decision: MakeDecision) -> None:
    recorder = node.recorder(
        RecordSettings(trace_share=1.0, poll_ms=5), endpoint="http://127.0.0.1:9"
    )
    journal = node.journal()
    write(journal, *(make_decision(n) for n in range(20)))
    until(lambda: recorder.status()["records"] == 20)

    recorder.stop()

    assert recorder.status()["spans_export_failed"] == 80
    assert node.rows() == 20
    journal.close()


def test_evidence_is_compacted_beside_the_cycles(
    node: Node, make_decision: MakeDecision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "_COMMITS_PER_MAINTENANCE", 5)
    recorder = node.recorder()
    journal = node.journal()
    for n in range(7):
        write(journal, make_decision(n))
        recorder.cycle()
        if recorder._maintenance is not None:
            recorder._maintenance.join()

    table = Evidence(node.evidence_url)._open()
    assert table is not None
    assert len(table.file_uris()) == 3  # five in one, and two since
    assert node.rows() == 7
    journal.close()


def test_stop_reads_what_is_left_and_ends_every_thread(
    node: Node, make_decision: MakeDecision
) -> None:
    before = set(threading.enumerate())
    recorder = node.recorder(endpoint="http://127.0.0.1:9")
    journal = node.journal()
    write(journal, make_decision())

    recorder.stop()
    recorder.stop()

    assert node.rows() == 1
    until(lambda: not set(threading.enumerate()) - before)
    journal.close()


RECORDER = """
    import sys, time
    from pathlib import Path
    from gateway.config import RecordSettings
    from gateway.record.recorder import Recorder
    from gateway.registry.deaths import Deaths
    from gateway.registry.drift import DriftStore

    here = Path(sys.argv[1])
    Recorder(
        RecordSettings(poll_ms=1),
        journal_dir=here / "journal",
        evidence_url=str(here / "evidence"),
        evaluator_endpoint=None,
        deaths=Deaths(f"sqlite:///{here}/handrail.db"),
        traffic=DriftStore(f"sqlite:///{here}/handrail.db"),
    )
    print("recording", flush=True)
    time.sleep(60)
"""


def test_a_recorder_killed_again_and_again_loses_and_repeats_nothing(
    node: Node, tmp_path: Path, make_decision: MakeDecision
) -> None:
    journal = node.journal(segment_bytes=MIB // 4)
    written = 0
    for lifetime_s in (0.05, 0.2, 0.35):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(RECORDER), str(tmp_path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"recording\n"
        deadline_s = time.monotonic() + lifetime_s
        while time.monotonic() < deadline_s:
            write(journal, *(make_decision(written + k) for k in range(20)))
            written += 20
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    journal.close()

    node.recorder().flush()

    assert written > 100
    assert node.rows() == written
    assert len(node.request_ids()) == written
    assert list_segments(node.journal_dir) == []


def _counted(values: int) -> bytes:
    return encode_traffic(
        TrafficRecord("digits", "3", "sha256:abc", "e", values, {"features": b"x"})
    )


def test_what_replicas_counted_is_entered_under_their_name_and_is_no_evidence(
    node: Node, make_decision: MakeDecision
) -> None:
    recorder, journal = node.recorder(), node.journal("digits~1")
    for body in (_counted(5), encode(make_decision(1)), _counted(9)):
        journal.append(body)
    journal.commit()

    recorder.flush()

    assert node.request_ids() == ["request-1"]
    assert [(total.writer, total.record.values) for total in node.book.entered] == [("digits~1", 9)]


def test_a_database_that_is_away_costs_no_decision_and_counts_come_later(
    node: Node, make_decision: MakeDecision
) -> None:
    recorder, journal = node.recorder(), node.journal("digits~1")
    node.book.refuses = True
    for body in (_counted(5), encode(make_decision(1))):
        journal.append(body)
    journal.commit()
    recorder.flush()
    node.book.refuses = False
    journal.append(encode(make_decision(2)))
    journal.commit()
    recorder.flush()

    assert node.request_ids() == ["request-1", "request-2"]
    assert [total.record.values for total in node.book.entered] == [5]
    assert recorder.status()["failures"] == 1


def test_what_the_monitors_say_is_a_metric(node: Node) -> None:
    recorder, journal = node.recorder(), node.journal("digits~1")
    journal.append(_counted(5))
    journal.commit()

    recorder.flush()

    labels = {"model": "digits", "version": "3", "monitor": "reject_rate"}
    shown = recorder._metrics.registry.get_sample_value
    assert shown("handrail_drift_alarm", labels) == 1
    assert shown("handrail_drift_evidence_nats", labels) == 20
    assert shown("handrail_drift_threshold_nats", labels) == 15
