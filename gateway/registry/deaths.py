"""At which deaths of replicas which inputs were being computed: the ground for quarantine.

One death proves nothing, as whoever rode in the same batch was there too: the inputs are
*suspect*, run alone from then on, and forgotten once they came through.  Two deaths within an hour
are enough: they are *quarantined* for an hour, in every replica of the model.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Double,
    Engine,
    String,
    Table,
    delete,
    insert,
    select,
)

from gateway.registry.database import open_database, reading
from gateway.registry.tables import metadata

CONVICTED = 2  # deaths
KEPT_S = 3600.0  # how long a death counts, and a quarantine lasts after the last

deaths = Table(
    "deaths",
    metadata,
    Column("model", String(63), primary_key=True),
    Column("fingerprint", String(32), primary_key=True),  # of the inputs, keyed, in hex
    Column("writer", String(128), primary_key=True),  # that died; its file may be read twice
    Column("at_s", Double, nullable=False),  # Unix
    Column("told", Boolean, nullable=False),  # it crashed or hung, so it was not just killed
)


@dataclass(frozen=True, slots=True)
class Death:
    """A death at which some inputs were being computed."""

    writer: str
    at_s: float  # Unix
    told: bool


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Inputs that nobody computes any more."""

    fingerprint: bytes
    deaths: int
    until_s: float  # Unix


class Deaths:
    """The deaths of all models.  Travels between processes; connects when first asked."""

    def __init__(self, database_url: str, *, clock_s: Callable[[], float] = time.time) -> None:
        self._database_url = database_url
        self._clock_s = clock_s

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the connection behind."""
        return type(self), (self._database_url,)

    @cached_property
    def _engine(self) -> Engine:
        return open_database(self._database_url)

    def add(
        self, model: str, writer: str, fingerprints: Collection[bytes], *, told: bool
    ) -> list[bytes]:
        """Enter a death, once however often it is told; forget those that count no more.

        Returns:
            The fingerprints that this death puts into quarantine.
        """
        now_s = self._clock_s()
        found = {fingerprint.hex() for fingerprint in fingerprints}
        mine = deaths.c.model == model, deaths.c.fingerprint.in_(found)
        with self._engine.begin() as connection:
            connection.execute(delete(deaths).where(deaths.c.at_s < now_s - 2 * KEPT_S))
            known = select(deaths.c.fingerprint).where(*mine, deaths.c.writer == writer)
            new = sorted(found - set(connection.scalars(known)))
            if not new:
                return []
            row = {"model": model, "writer": writer, "at_s": now_s, "told": told}
            connection.execute(insert(deaths), [{**row, "fingerprint": one} for one in new])
            counting = self._counting(connection, *mine)
        entered = map(bytes.fromhex, new)
        return [one for one in entered if len(counting[one]) == CONVICTED]

    def of(self, model: str) -> dict[bytes, list[Death]]:
        """Find all deaths that count, by fingerprint."""
        with reading(self._engine) as connection:
            return self._counting(connection, deaths.c.model == model)

    def quarantine(self, model: str) -> list[Quarantined]:
        """List what is quarantined, the longest first."""
        listed = [
            Quarantined(fingerprint, len(of), max(death.at_s for death in of) + KEPT_S)
            for fingerprint, of in self.of(model).items()
            if len(of) >= CONVICTED
        ]
        return sorted(listed, key=lambda one: one.until_s)

    def acquit(self, model: str, fingerprint: bytes) -> None:
        """Forget a suspect that came through alone; a quarantine stays."""
        mine = deaths.c.model == model, deaths.c.fingerprint == fingerprint.hex()
        with self._engine.begin() as connection:
            if len(self._counting(connection, *mine).get(fingerprint, ())) < CONVICTED:
                self._forget(connection, model, fingerprint)

    def lift(self, model: str, fingerprint: bytes) -> bool:
        """End a quarantine, or a suspicion; say whether there was one."""
        with self._engine.begin() as connection:
            return self._forget(connection, model, fingerprint)

    def _counting(
        self, connection: Connection, *which: ColumnElement[bool]
    ) -> dict[bytes, list[Death]]:
        """Find what counts: the last death, for an hour, and those within an hour before it."""
        now_s = self._clock_s()
        query = select(deaths).where(*which, deaths.c.at_s >= now_s - 2 * KEPT_S)
        found: dict[bytes, list[Death]] = {}
        for row in connection.execute(query):
            death = Death(row.writer, row.at_s, row.told)
            found.setdefault(bytes.fromhex(row.fingerprint), []).append(death)
        last_s = {fingerprint: max(one.at_s for one in of) for fingerprint, of in found.items()}
        return {
            fingerprint: [one for one in of if one.at_s >= last_s[fingerprint] - KEPT_S]
            for fingerprint, of in found.items()
            if last_s[fingerprint] >= now_s - KEPT_S
        }

    def _forget(self, connection: Any, model: str, fingerprint: bytes) -> bool:
        gone = delete(deaths).where(
            deaths.c.model == model, deaths.c.fingerprint == fingerprint.hex()
        )
        return bool(connection.execute(gone).rowcount)
