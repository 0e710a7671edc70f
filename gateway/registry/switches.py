"""Whether models may explore: one switch for all of them, one for each; the off of either wins.

Apart from the routing table, because it must not wait for a version that is being loaded.
Append-only: who switched what, and why, stays.
"""

import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, Double, Engine, Integer, String, Table, Text, insert, select

from gateway.registry.database import open_database, reading
from gateway.registry.tables import metadata

ALL = ""  # in place of a model's name

switches = Table(
    "explore_switches",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("model", String(63), nullable=False, index=True),  # "": all models
    Column("explore", Boolean, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("at_s", Double, nullable=False),  # Unix
)


class Switch(msgspec.Struct, frozen=True):
    """How the switches of one model stand."""

    revision: int = 0  # grows with every change; an older one is ignored
    everywhere: bool = True
    model: bool = True

    @property
    def is_on(self) -> bool:
        """Whether the model may explore."""
        return self.everywhere and self.model


class Switches:
    """The switches of all models.  Travels between processes; connects when first asked."""

    def __init__(self, database_url: str, *, clock_s: Callable[[], float] = time.time) -> None:
        self._database_url = database_url
        self._clock_s = clock_s

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the connection behind."""
        return type(self), (self._database_url,)

    @cached_property
    def _engine(self) -> Engine:
        return open_database(self._database_url)

    def turn(self, model: str, *, explore: bool, who: str, why: str) -> None:
        """Switch one model, or `ALL`; on disk before this returns."""
        row = {"model": model, "explore": explore, "who": who, "why": why, "at_s": self._clock_s()}
        with self._engine.begin() as connection:
            connection.execute(insert(switches).values(row))

    def of(self, model: str) -> Switch:
        """Tell how the switches of a model stand; both are on until somebody turns them."""
        query = (
            select(switches.c.id, switches.c.model, switches.c.explore)
            .where(switches.c.model.in_((ALL, model)))
            .order_by(switches.c.id)
        )
        last: dict[str, bool] = {}
        revision = 0
        with reading(self._engine) as connection:
            for row in connection.execute(query):
                last[row.model], revision = row.explore, row.id
        return Switch(revision, last.get(ALL, True), last.get(model, True))

    def history(self) -> list[dict[str, Any]]:
        """List every change, oldest first."""
        query = select(switches).order_by(switches.c.id)
        with reading(self._engine) as connection:
            return [dict(row) for row in connection.execute(query).mappings()]
