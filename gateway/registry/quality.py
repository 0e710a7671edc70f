"""What is stored about quality: reports, how every expectation stands, and the alerts it raised.

The evaluator alone writes.  An alert is open from the look at which its expectation was found
violated to the one at which it no longer was.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Engine,
    Integer,
    String,
    Table,
    Text,
    delete,
    select,
)

from gateway.record.expectation_signal import ExpectationSignal
from gateway.registry.database import open_database, reading
from gateway.registry.tables import metadata

reports = Table(
    "quality_reports",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("version", String(63), primary_key=True),
    Column("report", Text, nullable=False),  # JSON
    Column("prior", Text, nullable=False),  # JSON, a list
)

states = Table(
    "expectation_states",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("expectation", String(63), primary_key=True),
    Column("version", String(63), nullable=False),
    Column("state", String(31), nullable=False),
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("model", String(63), nullable=False, index=True),
    Column("version", String(63), nullable=False),
    Column("expectation", String(63), nullable=False),
    Column("reason", Text, nullable=False),
    Column("since_s", Double, nullable=False),  # Unix
    Column("until_s", Double),  # NULL: open
)


@dataclass(frozen=True, slots=True)
class Alert:
    """An expectation was found violated."""

    version: str
    expectation: str
    reason: str  # when it was found
    since_s: float
    until_s: float | None  # None: it still is


class QualityStore:
    """Goes to other processes by the database's address alone."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (QualityStore, (self._url,))

    @cached_property
    def _engine(self) -> Engine:
        return open_database(self._url)

    def keep(self, model: str, version: str, report: str, *, prior: str) -> None:
        """Keep the report on a version and on its classes, in place of those before."""
        of_it = (reports.c.model == model, reports.c.version == version)
        with self._engine.begin() as connection:
            connection.execute(delete(reports).where(*of_it))
            row = {"model": model, "version": version, "report": report, "prior": prior}
            connection.execute(reports.insert().values(row))

    def note(
        self,
        model: str,
        version: str,
        stand: Mapping[str, tuple[str, str]],
        *,
        violated: str,
        at_s: float,
    ) -> tuple[list[str], list[str]]:
        """Note how the expectations of the live version stand, and open and close alerts.

        Args:
            model: Its name.
            version: That is live.
            stand: State and reason of each expectation.
            violated: The state that alerts.
            at_s: Unix, now.

        Returns:
            The expectations whose alerts began, and those whose alerts ended.
        """
        is_open = (alerts.c.model == model, alerts.c.until_s.is_(None))
        with self._engine.begin() as connection:
            known = {
                (row.version, row.expectation): row.id
                for row in connection.execute(
                    select(alerts.c.id, alerts.c.version, alerts.c.expectation).where(*is_open)
                )
            }
            now = {(version, name) for name, (state, _) in stand.items() if state == violated}
            began, ended = sorted(now - known.keys()), sorted(known.keys() - now)
            for key in ended:
                closing = alerts.update().where(alerts.c.id == known[key]).values(until_s=at_s)
                connection.execute(closing)
            for _, name in began:
                about = {"model": model, "version": version, "expectation": name}
                told = about | {"reason": stand[name][1], "since_s": at_s}
                connection.execute(alerts.insert().values(told))
            connection.execute(delete(states).where(states.c.model == model))
            rows = [
                {"model": model, "expectation": name, "version": version, "state": state}
                for name, (state, _) in stand.items()
            ]
            if rows:
                connection.execute(states.insert(), rows)
        return [name for _, name in began], [name for _, name in ended]

    def signals(self) -> Sequence[ExpectationSignal]:
        """Say how every expectation of every live version stands."""
        query = select(states.c.model, states.c.version, states.c.expectation, states.c.state)
        with reading(self._engine) as connection:
            return [ExpectationSignal(*row) for row in connection.execute(query)]


def read_quality(connection: Connection, model: str, version: str) -> tuple[str, str] | None:
    """Read the report on a version and that on its classes, in JSON; None before the first."""
    table = reports.c
    query = select(table.report, table.prior).where(table.model == model, table.version == version)
    found = connection.execute(query).one_or_none()
    return None if found is None else (found.report, found.prior)


def read_alerts(connection: Connection, model: str, *, last: int) -> list[Alert]:
    """Read the newest alerts of a model, those that began last first."""
    table = alerts.c
    query = (
        select(table.version, table.expectation, table.reason, table.since_s, table.until_s)
        .where(table.model == model)
        .order_by(table.id.desc())
        .limit(last)
    )
    return [Alert(*row) for row in connection.execute(query)]
