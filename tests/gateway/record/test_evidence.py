"""The evidence holds every record once, and finds it without reading everything."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from gateway.record import evidence as evidence_module
from gateway.record.columns import SCHEMA
from gateway.record.decision import Decision, Payload, Tensor
from gateway.record.evidence import Evidence


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "evidence")


def test_a_table_that_does_not_exist_reads_as_empty(url: str) -> None:
    evidence = Evidence(url)

    assert evidence.read(since_ns=0) == []
    assert evidence.last_seq("w-000001.seg") == 0
    assert not Path(url).exists()


def test_a_reader_that_came_first_sees_the_table_appear(
    url: str, make_decision: Callable[..., Decision]
) -> None:
    reader = Evidence(url)
    assert reader.read(since_ns=0) == []

    Evidence(url).append([make_decision()], through={"w": 1})

    assert [record for _, record in reader.read(since_ns=0)] == [make_decision()]


def test_a_commit_remembers_how_far_every_segment_was_read(
    url: str, make_decision: Callable[..., Decision]
) -> None:
    writer = Evidence(url)
    writer.append([make_decision(0), make_decision(1)], through={"a": 1, "b": 1})
    writer.append([make_decision(2)], through={"b": 2})

    for evidence in (writer, Evidence(url)):
        assert [evidence.last_seq(segment) for segment in "abc"] == [1, 2, 0]


def test_a_commit_without_records_still_moves_the_mark(url: str) -> None:
    evidence = Evidence(url)
    evidence.append([], through={"a": 9})

    assert Evidence(url).last_seq("a") == 9
    assert evidence.read(since_ns=0) == []


def test_two_recorders_cannot_commit_the_same_segment(
    url: str, make_decision: Callable[..., Decision]
) -> None:
    first, second = Evidence(url), Evidence(url)
    first.append([make_decision(0)], through={"a": 1})
    assert second.last_seq("a") == 1
    first.append([make_decision(1)], through={"a": 2})

    with pytest.raises(DeltaError):
        second.append([make_decision(1)], through={"a": 2})

    assert len(first.read(since_ns=0)) == 2


def test_recorders_of_two_nodes_commit_beside_each_other(
    url: str, make_decision: Callable[..., Decision]
) -> None:
    first, second = Evidence(url), Evidence(url)
    for n in range(3):
        first.append([make_decision(2 * n)], through={"a": n})
        second.append([make_decision(2 * n + 1)], through={"b": n})

    assert len(Evidence(url).read(since_ns=0)) == 6


def test_reads_are_narrowed_by_time_id_and_model(
    url: str, make_decision: Callable[..., Decision]
) -> None:
    now_ns = [0]
    evidence = Evidence(url, clock_ns=lambda: now_ns[0])
    for now_ns[0] in (100, 200, 300):
        pair = [make_decision(now_ns[0]), make_decision(now_ns[0] + 1, model="o'brien")]
        evidence.append(pair, through={"a": now_ns[0]})

    def found(**narrowed: object) -> list[tuple[int, str]]:
        rows = evidence.read(**{"since_ns": 0, **narrowed})  # type: ignore[arg-type]
        return [(committed_ns, record.request_id) for committed_ns, record in rows]

    assert found(since_ns=200, model="digits") == [(200, "request-200"), (300, "request-300")]
    assert found(model="o'brien", since_ns=300) == [(300, "request-301")]
    assert found(ids=[make_decision(100).prediction_id]) == [(100, "request-100")]
    assert found(ids=[make_decision(100).prediction_id], since_ns=101) == []
    assert found(ids=[]) == []
    assert found(model="nobody") == []


def test_whether_a_payload_was_kept_is_read_without_it(
    url: str, make_decision: Callable[..., Decision]
) -> None:
    kept = Payload((Tensor("x", "FP32", (1, 1), b"1234"),), ())
    decisions = [make_decision(0, payload=kept), make_decision(1, payload=None)]
    Evidence(url).append(decisions, through={})

    read = Evidence(url).read(since_ns=0, payloads=False)

    found = sorted((record for _, record in read), key=lambda record: record.request_id)
    assert found == [msgspec.structs.replace(decisions[0], payload=Payload((), ())), decisions[1]]


def test_arrivals_are_listed_by_when_they_were_committed(
    url: str, make_decision: Callable[..., Decision]
) -> None:
    now_ns = [0]
    evidence = Evidence(url, clock_ns=lambda: now_ns[0])
    assert evidence.read_arrivals(since_ns=0, until_ns=10**18) == []
    decisions = [make_decision(n, arrived_ns=n) for n in range(4)]
    for now_ns[0], decision in enumerate(decisions, start=10):
        evidence.append([decision], through={})

    listed = evidence.read_arrivals(since_ns=11, until_ns=13)

    assert sorted(listed, key=lambda row: row[2]) == [
        (one.model, one.prediction_id, one.arrived_ns) for one in decisions[1:3]
    ]


def test_of_a_repeated_request_the_last_try_is_read(
    url: str, make_decision: Callable[..., Decision]
) -> None:
    first = make_decision(arrived_ns=100, status=500)
    last = make_decision(arrived_ns=200, status=200)
    evidence = Evidence(url)
    evidence.append([last], through={"a": 1})
    evidence.append([first], through={"b": 1})  # its replica died; it was adopted later

    assert [record for _, record in evidence.read(since_ns=0)] == [last]


def test_rows_lie_under_their_model_and_day(
    url: str, make_decision: Callable[..., Decision]
) -> None:
    evidence = Evidence(url)
    evidence.append([make_decision(), make_decision(1, arrived_ns=0)], through={"a": 1})

    folders = {str(path.parent.relative_to(url)) for path in Path(url).rglob("*.parquet")}
    assert folders == {"model=digits/day=2026-11-24", "model=digits/day=1970-01-01"}


def test_maintenance_merges_files_and_loses_nothing(
    url: str, make_decision: Callable[..., Decision], monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = Payload((Tensor("image", "FP32", (1, 64), bytes(256)),), ())
    evidence = Evidence(url)
    for n in range(20):
        evidence.append([make_decision(n, payload=payload)], through={"a": n})
    before = evidence.read(since_ns=0)
    reader = Evidence(url)
    reader.last_seq("a")  # holds the table as it was
    monkeypatch.setattr(evidence_module, "_RETENTION_HOURS", 0)

    assert Evidence(url).maintain()

    assert len(list(Path(url).rglob("*.parquet"))) - checkpoints(url) == 1
    assert reader.read(since_ns=0) == before
    assert Evidence(url).read(since_ns=0) == before
    assert Evidence(url).last_seq("a") == 19
    evidence.append([make_decision(99)], through={"a": 20})
    assert len(reader.read(since_ns=0)) == 21


def checkpoints(url: str) -> int:
    return len([name for name in os.listdir(f"{url}/_delta_log") if name.endswith(".parquet")])


def test_a_node_that_fell_behind_a_shortened_log_goes_on_after_a_refresh(
    url: str, make_decision: Callable[..., Decision], monkeypatch: pytest.MonkeyPatch
) -> None:
    shortened = {**evidence_module._CONFIGURATION, "delta.logRetentionDuration": "interval 0 days"}
    monkeypatch.setattr(evidence_module, "_CONFIGURATION", shortened)
    behind, busy = Evidence(url), Evidence(url)
    behind.append([make_decision(0)], through={"a": 1})
    for n in range(1, 4):
        busy.append([make_decision(n)], through={"b": n})
    busy.maintain()
    with pytest.raises(DeltaError):
        behind.append([make_decision(9)], through={"a": 2})

    behind.refresh()
    assert behind.last_seq("a") == 1
    behind.append([make_decision(9)], through={"a": 2})

    assert len(busy.read(since_ns=0)) == 5


def test_replaced_files_stay_for_readers_that_are_still_at_them(
    url: str, make_decision: Callable[..., Decision]
) -> None:
    evidence = Evidence(url)
    for n in range(5):
        evidence.append([make_decision(n)], through={"a": n})
    held = DeltaTable(url).to_pyarrow_dataset()

    evidence.maintain()

    assert held.count_rows() == 5


def test_a_table_of_an_older_version_gains_the_new_columns(
    url: str, make_decision: Callable[..., Decision]
) -> None:
    older = SCHEMA.remove(SCHEMA.get_field_index("payload"))
    older = older.remove(older.get_field_index("p_values"))
    DeltaTable.create(url, older, partition_by=["model", "day"])
    evidence = Evidence(url)
    assert evidence.read(since_ns=0) == []

    evidence.append([make_decision()], through={"a": 1})

    assert [record for _, record in evidence.read(since_ns=0)] == [make_decision()]
