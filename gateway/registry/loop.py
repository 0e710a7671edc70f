"""What is stored about loop health: a report per window that is over, and the state behind it.

The evaluator alone writes, a window's report and the state after it in one transaction.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    LargeBinary,
    String,
    Table,
    Text,
    delete,
    select,
)

from gateway.record.loop_signal import LoopSignal
from gateway.registry.database import open_database, reading
from gateway.registry.tables import metadata

states = Table(
    "loop_states",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("state", LargeBinary, nullable=False),
)

windows = Table(
    "loop_windows",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("end_ns", BigInteger, primary_key=True, autoincrement=False),  # Unix
    Column("report", Text, nullable=False),  # JSON
    Column("signal", Text, nullable=False),  # JSON: what metrics show of it
)


class LoopStore:
    """Goes to other processes by the database's address alone."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (LoopStore, (self._url,))

    @cached_property
    def _engine(self) -> Engine:
        return open_database(self._url)

    def state(self, model: str) -> bytes | None:
        """Read where the watch of a model stands."""
        query = select(states.c.state).where(states.c.model == model)
        with reading(self._engine) as connection:
            found: bytes | None = connection.scalar(query)
            return found

    def keep(
        self, model: str, state: bytes, *, closed: tuple[int, str, LoopSignal] | None = None
    ) -> None:
        """Keep the state, and with it the report of a window that it closed.

        Args:
            model: Whose.
            state: Replaces the one before.
            closed: When the window ended, in Unix ns, its report in JSON, and its signal.
        """
        with self._engine.begin() as connection:
            connection.execute(delete(states).where(states.c.model == model))
            connection.execute(states.insert().values(model=model, state=state))
            if closed is not None:
                end_ns, report, signal = closed
                told = orjson.dumps(signal._asdict()).decode()
                row = {"model": model, "end_ns": end_ns, "report": report, "signal": told}
                connection.execute(windows.insert().values(row))

    def signals(self) -> Sequence[LoopSignal]:
        """Say how the loop of every model was in its last window."""
        newest = select(windows.c.model, windows.c.signal).order_by(windows.c.end_ns)
        with reading(self._engine) as connection:
            last = {row.model: row.signal for row in connection.execute(newest)}
        return [LoopSignal(**orjson.loads(signal)) for signal in last.values()]


def read_loop(connection: Connection, model: str) -> str | None:
    """Read the report of the last window that is over, in JSON; None where there is none."""
    query = (
        select(windows.c.report)
        .where(windows.c.model == model)
        .order_by(windows.c.end_ns.desc())
        .limit(1)
    )
    found: str | None = connection.scalar(query)
    return found
