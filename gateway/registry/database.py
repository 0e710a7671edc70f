"""Open the SQL database of registry, keys and labels: SQLite embedded, PostgreSQL in a cluster."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text

from gateway.registry.tables import metadata

__all__ = ["metadata", "open_database", "reading"]

BUSY_S = 10.0  # how long a writer waits for another one; a commit takes milliseconds

_READING = "handrail_reading"
_CREATING = 0x68616E64  # an arbitrary number that names our advisory lock in PostgreSQL


def open_database(url: str) -> Engine:
    """Connect, and create the tables that are missing.  Many processes may do it at once.

    On SQLite every commit is on disk before it returns, and a transaction takes the write
    lock when it begins: upgrading a read would fail at once, whatever the busy timeout
    (https://www.sqlite.org/rescode.html#busy_snapshot).  Use `reading` where nothing is written.
    """
    sqlite = url.startswith("sqlite")
    engine = create_engine(url, connect_args={"timeout": BUSY_S} if sqlite else {})
    if sqlite:
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    with engine.begin() as connection:
        if not sqlite:  # SQLite holds its write lock already
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CREATING})
        metadata.create_all(connection)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a read-only transaction: one snapshot, which waits for no writer."""
    with engine.connect().execution_options(**{_READING: True}) as connection:
        yield connection


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # sqlite3 begins nothing by itself: `_begin_sqlite` does
    _use_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _use_wal(connection: Any) -> None:
    """Switch a new file to WAL; SQLite ignores the busy timeout here, so ask again by hand."""
    until_s = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    mode = "DEFERRED" if connection.get_execution_options().get(_READING) else "IMMEDIATE"
    connection.exec_driver_sql(f"BEGIN {mode}")
