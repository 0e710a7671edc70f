"""A decision survives the journal and the evidence unchanged."""

import contextlib
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.config import RecordSettings
from gateway.record.columns import SCHEMA, from_table, to_table
from gateway.record.decision import (
    Decision,
    Exploration,
    Payload,
    Stages,
    Tensor,
    decode,
    encode,
)
from gateway.record.evidence import Evidence
from gateway.record.journal import Journal
from gateway.record.segments import list_segments, read_records

HEX = "0123456789abcdef"
int64s = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False)  # NaN travels too, but is not equal to itself
hex32 = st.text(HEX, min_size=32, max_size=32)
hex16 = st.text(HEX, min_size=16, max_size=16)
tensors = st.builds(
    Tensor, st.text(), st.text(), st.lists(st.integers(0, 2**40)).map(tuple), st.binary()
)
tensor_tuples = st.lists(tensors, max_size=2).map(tuple)
explorations = st.builds(
    Exploration,
    st.text(),
    st.lists(int64s).map(tuple),
    st.lists(int64s).map(tuple),
    st.lists(floats).map(tuple),
    st.lists(st.text()).map(tuple),
)
decisions = st.builds(
    Decision,
    schema=int64s,
    prediction_id=hex32,
    request_id=st.text(),
    trace_id=hex32,
    span_id=hex16,
    parent_id=st.one_of(st.just(""), hex16),
    parent_sampled=st.booleans(),
    tracestate=st.text(),
    model=st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,20}\Z"),
    version=st.text(),
    digest=st.text(),
    revision=int64s,
    arrived_ns=int64s,
    stages=st.builds(Stages, *[int64s] * 6),
    budget_ns=int64s,
    rows=int64s,
    batch_rows=int64s,
    status=int64s,
    code=st.text(),
    served_by=st.text(),
    fallback_reason=st.text(),
    flagged=int64s,
    rejected=int64s,
    p_values=st.lists(floats).map(tuple),
    reasons=st.text(),
    predicted=st.lists(floats).map(tuple),
    exploration=st.one_of(st.none(), explorations),
    capture_share=floats,
    payload=st.one_of(st.none(), st.builds(Payload, tensor_tuples, tensor_tuples)),
)
several = st.lists(decisions, min_size=1, max_size=4, unique_by=lambda d: d.prediction_id)


def by_id(records: list[Decision]) -> list[Decision]:
    return sorted(records, key=lambda record: record.prediction_id)


@given(written=several)
@settings(deadline=None)
def test_columns_give_the_records_back(written: list[Decision]) -> None:
    table = to_table(written, committed_ns=5)

    assert table.schema.equals(SCHEMA)
    assert from_table(table) == [(5, record) for record in written]


@given(written=several)
@settings(deadline=None, max_examples=25)
def test_a_record_is_read_back_from_the_journal(written: list[Decision]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        journal = Journal(Path(directory), writer="w", settings=RecordSettings())
        for record in written:
            journal.append(encode(record))
        journal.commit()
        (segment,) = list_segments(Path(directory))
        records, complete = read_records(segment, 0, limit_bytes=2**30)
        journal.close()

    assert complete
    assert [decode(body) for _, body in records] == written
    assert [seq for seq, _ in records] == list(range(1, len(written) + 1))


@given(written=several)
@settings(deadline=None, max_examples=15)
def test_a_record_is_read_back_from_the_evidence(written: list[Decision]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        evidence = Evidence(f"{directory}/evidence", clock_ns=lambda: 7)
        evidence.append(written, through={"w-000001.seg": len(written)})
        rows = Evidence(f"{directory}/evidence").read(since_ns=0)

    assert {committed for committed, _ in rows} == {7}
    assert by_id([record for _, record in rows]) == by_id(written)


@pytest.mark.parametrize(
    "change",
    [
        {"prediction_id": "xyz"},
        {"trace_id": "0" * 32 + "\n"},
        {"span_id": ""},
        {"parent_id": "12"},
        {"model": ""},
        {"rows": 2**63},
        {"stages": Stages(finished_ns=2**64 - 1)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_no_table_or_span_could_hold_is_refused_at_decoding(
    make_decision: Callable[..., Decision], change: dict[str, object]
) -> None:
    body = encode(make_decision(**change))

    with pytest.raises(msgspec.ValidationError):
        decode(body)


@given(body=st.binary(max_size=200))
@example(body=b"\xdd\x00\x00\x00\x1d\x00\xa6\x00\x00\x00\x00\x00\x80")  # a text of no UTF-8
def test_bytes_that_are_no_record_raise_only_a_decode_error(body: bytes) -> None:
    with contextlib.suppress(msgspec.DecodeError):
        decode(body)


def test_sqlite_is_new_enough_for_wal_readers() -> None:
    assert sqlite3.sqlite_version_info >= (3, 22)  # read-only connections to WAL databases
