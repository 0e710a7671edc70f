"""What is stored about drift: the totals of every replica, the ticks judged, what came of them.

The recorders enter totals; the evaluator alone writes ticks, states and findings, all of one
tick in one transaction.  From the ticks the states can be computed again, to the last bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Engine,
    LargeBinary,
    String,
    Table,
    Text,
    delete,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from gateway.record.traffic import DriftSignal, TrafficRecord, TrafficTotal, pack_counts
from gateway.registry.database import open_database, reading
from gateway.registry.tables import metadata
from guards.drift.cells import Counts

_KEY = ("model", "version", "monitor")

traffic = Table(
    "traffic",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("version", String(63), primary_key=True),
    Column("digest", String(71), primary_key=True),
    Column("writer", String(128), primary_key=True),  # of the journal
    Column("epoch", String(63), primary_key=True),  # of the load of the version
    Column("values", BigInteger, nullable=False),  # counted so far; never falls
    Column("counts", LargeBinary, nullable=False),  # by monitor
)

ticks = Table(
    "drift_ticks",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("version", String(63), primary_key=True),
    Column("monitor", String(31), primary_key=True),
    Column("tick", BigInteger, primary_key=True, autoincrement=False),
    Column("at_s", Double, nullable=False),  # Unix, when it ended
    Column("counts", LargeBinary, nullable=False),  # of this tick alone
)

findings = Table(
    "drift_findings",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("version", String(63), primary_key=True),
    Column("monitor", String(31), primary_key=True),
    Column("log_evidence", Double, nullable=False),
    Column("log_threshold", Double, nullable=False),
    Column("alarm", Boolean, nullable=False),
    Column("state", LargeBinary, nullable=False),  # `MonitorState` after the last tick
    Column("finding", Text, nullable=False),  # JSON, for the report
)


@dataclass(frozen=True, slots=True)
class Tick:
    """The counts of one tick of one monitor."""

    tick: int
    at_s: float
    counts: bytes


@dataclass(frozen=True, slots=True)
class Judged:
    """What one tick led to, for one monitor."""

    monitor: str
    tick: int
    counts: Counts
    log_evidence: float
    log_threshold: float
    alarm: bool
    state: bytes
    finding: str


class DriftStore:
    """Opens the database when first asked, in whatever process it was carried to."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url

    def __reduce__(self) -> tuple[type["DriftStore"], tuple[str]]:
        """Leave the connection behind."""
        return type(self), (self._database_url,)

    @cached_property
    def _engine(self) -> Engine:
        return open_database(self._database_url)

    def enter(self, totals: Sequence[TrafficTotal]) -> None:
        """Keep each total, unless a later one of its source is known: the join of a counter."""
        if not totals:
            return
        rows = [
            {
                "model": total.record.model,
                "version": total.record.version,
                "digest": total.record.digest,
                "writer": total.writer,
                "epoch": total.record.epoch,
                "values": total.record.values,
                "counts": msgspec.msgpack.encode(total.record.counts),
            }
            for total in totals
        ]
        with self._engine.begin() as connection:
            insert = _insert(connection, traffic)
            keys = [column.name for column in traffic.primary_key]
            new = {name: insert.excluded[name] for name in ("values", "counts")}
            is_later = insert.excluded["values"] > traffic.c["values"]
            connection.execute(
                insert.on_conflict_do_update(index_elements=keys, set_=new, where=is_later), rows
            )

    def totals(self) -> dict[tuple[str, str, str], list[TrafficTotal]]:
        """Read the latest total of every source, by model, version and digest."""
        found: dict[tuple[str, str, str], list[TrafficTotal]] = {}
        with reading(self._engine) as connection:
            for row in connection.execute(select(traffic)).mappings():
                counts = msgspec.msgpack.decode(row["counts"], type=dict[str, bytes])
                record = TrafficRecord(
                    row["model"],
                    row["version"],
                    row["digest"],
                    row["epoch"],
                    row["values"],
                    counts,
                )
                key = (row["model"], row["version"], row["digest"])
                found.setdefault(key, []).append(TrafficTotal(row["writer"], record))
        return found

    def record(
        self, model: str, version: str, judged: Sequence[Judged], *, at_s: float, keep_ticks: int
    ) -> None:
        """Keep one tick of some monitors of a version; forget all but ``keep_ticks``."""
        key = {"model": model, "version": version}
        told = [
            key
            | {"monitor": j.monitor, "log_evidence": j.log_evidence, "alarm": j.alarm}
            | {"log_threshold": j.log_threshold, "state": j.state, "finding": j.finding}
            for j in judged
        ]
        ended = [
            key
            | {"monitor": j.monitor, "tick": j.tick, "at_s": at_s, "counts": pack_counts(j.counts)}
            for j in judged
        ]
        with self._engine.begin() as connection:
            connection.execute(ticks.insert(), ended)
            for j in judged:
                of_it = _is(ticks, model, version, j.monitor)
                connection.execute(delete(ticks).where(*of_it, ticks.c.tick <= j.tick - keep_ticks))
            insert = _insert(connection, findings)
            new = {c.name: insert.excluded[c.name] for c in findings.c if c.name not in _KEY}
            connection.execute(insert.on_conflict_do_update(index_elements=_KEY, set_=new), told)

    def state(self, model: str, version: str, monitor: str) -> bytes | None:
        """Read the state after the last tick; None before the first."""
        query = select(findings.c.state).where(*_is(findings, model, version, monitor))
        with reading(self._engine) as connection:
            state: bytes | None = connection.scalar(query)
            return state

    def ticks(self, model: str, version: str, monitor: str, *, last: int) -> list[Tick]:
        """Read the last ticks, oldest first."""
        query = (
            select(ticks.c.tick, ticks.c.at_s, ticks.c.counts)
            .where(*_is(ticks, model, version, monitor))
            .order_by(ticks.c.tick.desc())
            .limit(last)
        )
        with reading(self._engine) as connection:
            return [Tick(*row) for row in connection.execute(query)][::-1]

    def signals(self) -> list[DriftSignal]:
        """Say what every monitor says now."""
        table = findings.c
        query = select(
            table.model,
            table.version,
            table.monitor,
            table.log_evidence,
            table.log_threshold,
            table.alarm,
        )
        with reading(self._engine) as connection:
            return [DriftSignal(*row) for row in connection.execute(query)]


def read_findings(connection: Connection, model: str, version: str) -> Mapping[str, str]:
    """Read what the monitors of a version found, as JSON by monitor."""
    query = select(findings.c.monitor, findings.c.finding).where(
        findings.c.model == model, findings.c.version == version
    )
    return {row.monitor: row.finding for row in connection.execute(query)}


def _is(table: Table, model: str, version: str, monitor: str) -> list[Any]:
    return [table.c.model == model, table.c.version == version, table.c.monitor == monitor]


def _insert(connection: Connection, table: Table) -> Any:
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    return insert(table)
