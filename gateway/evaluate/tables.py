"""The evaluator's tables in SQL: feedback, what was judged, and running counts."""

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
    Text,
)
from sqlalchemy.dialects import postgresql, sqlite

from gateway.registry.tables import metadata

# SQLite numbers rows by itself only in a column of exactly this type.
_Serial = BigInteger().with_variant(Integer, "sqlite")
# Clustered by the primary key, as every query here comes in by it.
_CLUSTERED: dict[str, Any] = {"sqlite_with_rowid": False}


def _feedback(name: str, identity: Sequence[str], *values: Column[Any]) -> Table:
    """Lay out one kind of feedback: append-only, each value once per idempotency key."""
    numbers = [Column(part, Integer, nullable=False) for part in identity]
    return Table(
        name,
        metadata,
        Column("revision", _Serial, primary_key=True, autoincrement=True),
        Column("model", String(63), nullable=False),
        Column("prediction_id", String(32), nullable=False),
        *numbers,
        *values,
        Column("idempotency_key", String(128)),  # NULL: every arrival is a new revision
        Column("observed_ns", BigInteger, nullable=False),  # Unix; the latest one counts
        Column("received_ns", BigInteger, nullable=False),  # Unix
        Column("source", String(63), nullable=False),
        # NULLs differ from each other in both dialects, so rows without a key never collide.
        Index(f"{name}_once", "model", "prediction_id", *identity, "idempotency_key", unique=True),
        sqlite_autoincrement=True,
    )


# What was true, a class or a number.
labels = _feedback("labels", ["row"], Column("label", Double))
# What a served choice turned out to be worth.
rewards = _feedback("rewards", ["row", "slot"], Column("reward", Double, nullable=False))
# What was really shown, as a JSON list in its order, and why something else than was answered.
confirmations = _feedback(
    "confirmations",
    ["row"],
    Column("served", Text, nullable=False),
    Column("override", String(200)),
)
FEEDBACK = (labels, rewards, confirmations)

# Feedback that was refused, because it contradicted what came before under the same key.
contradictions = Table(
    "contradictions",
    metadata,
    Column("revision", _Serial, primary_key=True, autoincrement=True),
    Column("model", String(63), nullable=False),
    Column("prediction_id", String(32), nullable=False),
    Column("row", Integer, nullable=False),
    Column("received_ns", BigInteger, nullable=False),
    Index("contradictions_of", "model"),
    sqlite_autoincrement=True,
)

# Values that had come before under their idempotency key: only counted, as there is nothing new.
duplicates = Table(
    "feedback_duplicates",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("events", BigInteger, nullable=False),
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
    Column("judged", BigInteger, nullable=False),  # rows, by the outlier guard
    Column("strange", BigInteger, nullable=False),
    Column("abstained", BigInteger, nullable=False),
    Column("unguarded", BigInteger, nullable=False),
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
    Column("judged", BigInteger, nullable=False),  # rows, by the outlier guard
    Column("strange", BigInteger, nullable=False),
    Column("abstained", BigInteger, nullable=False),
    Column("unguarded", BigInteger, nullable=False),
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

# Rows that an audit could have chosen, each with its chance; one is in one round at most.
audited = Table(
    "audited_rows",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("prediction_id", String(32), primary_key=True),
    Column("row", Integer, primary_key=True),
    Column("version", String(63), nullable=False),
    Column("round", Integer, nullable=False),
    Column("predicted", Double, nullable=False),
    Column("propensity", Double, nullable=False),
    Column("expected", Double, nullable=False),  # chance to be wrong, before anybody looked
    Column("chosen", Boolean, nullable=False),
    **_CLUSTERED,
)


_EVERY_FEEDBACK = frozenset({"revision", "observed_ns", "received_ns", "source"})


def identity_of(table: Table) -> tuple[str, ...]:
    """Name the columns of feedback that say what it is about, with the key that makes it one."""
    unique = next(index for index in table.indexes if index.unique)
    return tuple(column.name for column in unique.columns)


def values_of(table: Table) -> tuple[str, ...]:
    """Name the columns of feedback that say something."""
    about = _EVERY_FEEDBACK | set(identity_of(table))
    return tuple(column.name for column in table.columns if column.name not in about)


SUMS = tuple(column.name for column in counts.columns if not column.primary_key)


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows whose keys are not there yet; return how many those were."""
    if not rows:
        return 0
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    return connection.execute(insert(table).on_conflict_do_nothing(), rows).rowcount


def add_duplicates(connection: Connection, model: str, events: int) -> None:
    """Count repeated feedback."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(duplicates).values(model=model, events=events)
    summed = {"events": duplicates.c.events + statement.excluded.events}
    connection.execute(statement.on_conflict_do_update(index_elements=["model"], set_=summed))


def add_counts(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add to running counts; those that do not exist yet begin with these."""
    if not rows:
        return
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(counts)
    summed = {name: counts.c[name] + statement.excluded[name] for name in SUMS}
    keys = [column.name for column in counts.primary_key]
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=summed), rows)
