"""The registry's tables in SQL.

Whoever keeps tables in the same database defines them on `metadata`, in a module that is
imported before `open_database` runs.
"""

from sqlalchemy import (
    DDL,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    event,
)

metadata = MetaData()

models = Table(
    "models",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("revision", Integer, nullable=False),  # grows by one with every change
    Column("routing", Text),  # RoutingTable as JSON; NULL: no live version
)

versions = Table(
    "versions",
    metadata,
    Column("model", String(63), ForeignKey("models.name"), primary_key=True),
    Column("version", String(63), primary_key=True),
    Column("digest", String(71), nullable=False),
    Column("trust_code", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    Column("manifest", Text, nullable=False),  # Manifest as JSON
    Column("registered_at_s", Double, nullable=False),  # Unix
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("model", String(63), nullable=False),
    Column("version", String(63), nullable=False),
    Column("revision", Integer, nullable=False),  # of the model, once this had happened
    Column("from_state", String(16)),  # NULL: the version was new
    Column("to_state", String(16), nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("at_s", Double, nullable=False),  # Unix
    ForeignKeyConstraint(("model", "version"), ("versions.model", "versions.version")),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("sha256", String(64), nullable=False),  # of the whole key; the key itself is not kept
    Column("role", String(16), nullable=False),
    Column("label", Text, nullable=False),
    Column("created_at_s", Double, nullable=False),  # Unix
)

for _verb in ("UPDATE", "DELETE"):
    # SQLite has no privileges to revoke; on a server, the account of the gateway should lack them.
    event.listen(
        audit,
        "after_create",
        DDL(  # type: ignore[no-untyped-call]  # SQLAlchemy leaves this constructor untyped
            f"CREATE TRIGGER audit_refuses_{_verb.lower()} BEFORE {_verb} ON audit "
            "BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END"
        ).execute_if(dialect="sqlite"),
    )
