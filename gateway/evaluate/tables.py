"""The evaluator's tables in SQL: labels, what was judged, and running counts."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    String,
    Table,
)
from sqlalchemy.dialects import postgresql, sqlite

from gateway.registry.tables import metadata

# SQLite numbers rows by itself only in a column of exactly this type.
_Serial = BigInteger().with_variant(Integer, "sqlite")
# Clustered by the primary key, as every query here comes in by it.
_CLUSTERED: dict[str, Any] = {"sqlite_with_rowid": False}

labels = Table(
    "labels",
    metadata,
    Column("revision", _Serial, primary_key=True, autoincrement=True),
    Column("model", String(63), nullable=False),
    Column("prediction_id", String(32), nullable=False),
    Column("row", Integer, nullable=False),
    Column("label", Double),
    Column("reward", Double),
    Column("idempotency_key", String(128)),  # NULL: every arrival is a new revision
    Column("observed_ns", BigInteger, nullable=False),  # Unix; the latest one counts
    Column("received_ns", BigInteger, nullable=False),  # Unix
    Column("source", String(63), nullable=False),
    # NULLs differ from each other in both dialects, so rows without a key never collide.
    Index("labels_once", "model", "prediction_id", "row", "idempotency_key", unique=True),
    sqlite_autoincrement=True,
)

requests = Table(
    "judged_requests",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("prediction_id", String(32), primary_key=True),
    Column("version", String(63), nullable=False),
    Column("revision", BigInteger, nullable=False),  # of the routing table
    Column("served_by", String(63), nullable=False),
    Column("fallback_reason", String(63), nullable=False),
    Column("status", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("kept_rows", BigInteger, nullable=False),  # whose prediction is in judged_rows
    Column("flagged", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("explored", BigInteger, nullable=False),
    Column("captured", Boolean, nullable=False),
    Column("arrived_ns", BigInteger, nullable=False),  # Unix
    Column("finished_ns", BigInteger, nullable=False),  # after arrival
    Column("fingerprint", String(16), nullable=False),  # of everything that is judged
    Column("seq", BigInteger, nullable=False),  # grows with every row written; shadows follow it
    **_CLUSTERED,
)
Index("judged_requests_order", requests.c.model, requests.c.seq, unique=True)

predictions = Table(
    "judged_rows",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("prediction_id", String(32), primary_key=True),
    Column("row", Integer, primary_key=True),
    Column("predicted", Double),  # NULL: not one number
    **_CLUSTERED,
)

counts = Table(
    "judged_counts",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("version", String(63), primary_key=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("served_by", String(63), primary_key=True),
    Column("fallback_reason", String(63), primary_key=True),
    Column("status", BigInteger, primary_key=True, autoincrement=False),
    Column("duration_bin", Integer, primary_key=True, autoincrement=False),
    Column("requests", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("kept_rows", BigInteger, nullable=False),
    Column("flagged", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("explored", BigInteger, nullable=False),
    **_CLUSTERED,
)

shadow_runs = Table(
    "shadow_runs",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("version", String(63), primary_key=True),
    Column("prediction_id", String(32), primary_key=True),
    Column("failed", Boolean, nullable=False),
    **_CLUSTERED,
)

shadow_predictions = Table(
    "shadow_rows",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("version", String(63), primary_key=True),
    Column("prediction_id", String(32), primary_key=True),
    Column("row", Integer, primary_key=True),
    Column("predicted", Double),
    **_CLUSTERED,
)

positions = Table(
    "positions",
    metadata,
    Column("reader", String(160), primary_key=True),
    Column("position", BigInteger, nullable=False),  # up to which the reader has seen everything
)


SUMS = tuple(column.name for column in counts.columns if not column.primary_key)


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows whose keys are not there yet; return how many those were."""
    if not rows:
        return 0
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    return connection.execute(insert(table).on_conflict_do_nothing(), rows).rowcount


def add_counts(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add to running counts; those that do not exist yet begin with these."""
    if not rows:
        return
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(counts)
    summed = {name: counts.c[name] + statement.excluded[name] for name in SUMS}
    keys = [column.name for column in counts.primary_key]
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=summed), rows)
