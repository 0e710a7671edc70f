"""The registry: which versions exist, in which state, and who answers.

Every change is one transaction: the states, the next routing table and the audit rows, or
nothing.  It is on disk before the call returns.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Literal

import msgspec
from sqlalchemy import Connection, Engine, RowMapping, insert, select, update
from sqlalchemy.exc import IntegrityError

from gateway.errors import ConflictError, UnknownModelError
from gateway.registry import tables
from gateway.registry.artifacts import ArtifactStore
from gateway.registry.confirming import plan_confirmation
from gateway.registry.database import reading
from gateway.registry.lifecycle import (
    Plan,
    Snapshot,
    State,
    VersionRow,
    allowed_steps,
    build_table,
    plan_promotion,
    plan_registration,
    plan_rejection,
    plan_rollback,
)
from gateway.registry.loading import plan_load, plan_unload
from gateway.registry.routing import RoutingTable
from models.bundle import Bundle
from models.manifest import Manifest

ATTEMPTS = 10  # a lost race means that another writer won: ten in a row mean something else


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One transition of one version, for good."""

    model: str
    version: str
    revision: int  # of the model, once this had happened
    from_state: State | None  # None: the version was new
    to_state: State
    who: str
    why: str
    at_s: float  # Unix


_VERSION_FIELDS = tuple(field.name for field in fields(VersionRow))


class _LostRaceError(Exception):
    """Another writer changed the model since we read it."""


class Registry:
    """Versions and routing tables, in SQL.  Any number of processes may write at once."""

    def __init__(
        self, engine: Engine, artifacts: ArtifactStore, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._clock = clock
        self.artifacts = artifacts

    def register(
        self, bundle: Bundle, *, as_: Literal["live", "shadow"], trust_code: bool, who: str
    ) -> RoutingTable:
        """Keep an admitted bundle and put it in its place; again with the same content is fine.

        Raises:
            ConflictError: the version exists with another content, its signature is not the live
                one's, or its ladder names a version that is not registered.
        """
        manifest = bundle.manifest
        candidate = VersionRow(
            manifest.name,
            manifest.version,
            self.artifacts.put(bundle.path),
            "registered",
            trust_code,
            manifest,
            self._clock(),
        )
        table = self._change(
            manifest.name,
            lambda snapshot: plan_registration(snapshot, candidate, as_=as_),
            who=who,
            why=f"registered as {as_}",
        )
        return _present(table)

    def promote(self, model: str, version: str | None, *, who: str, why: str) -> RoutingTable:
        """Make a version live, the shadow if ``version`` is None.

        Raises:
            UnknownModelError: there is no such model or version.
            ConflictError: there is no shadow, or the version does not fit.
        """
        table = self._change(
            model, lambda snapshot: plan_promotion(snapshot, version), who=who, why=why
        )
        return _present(table)

    def rollback(self, model: str, *, who: str, why: str) -> RoutingTable:
        """Return to the previous version, which is warm.

        Raises:
            UnknownModelError: there is no such model.
            ConflictError: there is no previous version.
        """
        return _present(self._change(model, plan_rollback, who=who, why=why))

    def reject(self, model: str, version: str, *, who: str, why: str) -> RoutingTable | None:
        """Take a version out of service for good; None if nobody is live afterwards."""
        return self._change(
            model, lambda snapshot: plan_rejection(snapshot, version), who=who, why=why
        )

    def confirm(self, model: str, guard: str, *, version: str, who: str, why: str) -> RoutingTable:
        """Let a guard act that was in dry run; again is fine.

        Args:
            model: Whose guard.
            guard: Its name.
            version: The live version, whose false alarms were looked at.
            who: Confirms it.
            why: With what was seen; kept in the audit.

        Raises:
            UnknownModelError: there is no such model.
            ConflictError: another version is live, or the guard waits for nothing.
        """
        return _present(
            self._change(
                model,
                lambda snapshot: plan_confirmation(snapshot, guard, version=version),
                who=who,
                why=why,
            )
        )

    def load(self, model: str, *, who: str) -> RoutingTable:
        """Let a model answer: its live version, or the newest one if it has none.

        Raises:
            UnknownModelError: there is no such model.
            ConflictError: all its versions are rejected.
        """
        return _present(self._change(model, plan_load, who=who, why="loaded"))

    def unload(self, model: str, *, who: str) -> RoutingTable | None:
        """Take a model off the data plane until it is loaded; None if it has no live version.

        Raises:
            UnknownModelError: there is no such model.
        """
        return self._change(model, plan_unload, who=who, why="unloaded")

    def models(self) -> list[str]:
        """Names of all models, also of those without a live version."""
        with reading(self._engine) as connection:
            query = select(tables.models.c.name).order_by(tables.models.c.name)
            return list(connection.scalars(query))

    def versions(self, model: str) -> list[VersionRow]:
        """All versions of a model, oldest first.

        Raises:
            UnknownModelError: there is no such model.
        """
        with reading(self._engine) as connection:
            snapshot = _read(connection, model)
        if not snapshot.versions:
            raise UnknownModelError(model)
        return sorted(
            snapshot.versions.values(), key=lambda row: (row.registered_at_s, row.version)
        )

    def table(self, model: str) -> RoutingTable | None:
        """Who answers for a model once it is loaded; None if nobody does."""
        with reading(self._engine) as connection:
            return _read(connection, model).table

    def tables(self) -> list[RoutingTable]:
        """The routing tables of all models that answer, by name: live and not unloaded."""
        query = select(tables.models.c.routing).order_by(tables.models.c.name)
        with reading(self._engine) as connection:
            known = [_load_table(text) for text in connection.scalars(query) if text is not None]
        return [table for table in known if table.loaded]

    def audit(self, model: str) -> list[AuditRow]:
        """Every transition of every version of a model, oldest first."""
        columns = [tables.audit.c[field.name] for field in fields(AuditRow)]
        query = select(*columns).where(tables.audit.c.model == model).order_by(tables.audit.c.id)
        with reading(self._engine) as connection:
            return [AuditRow(*row) for row in connection.execute(query)]

    def _change(
        self,
        model: str,
        decide: Callable[[Snapshot], Plan | None],
        *,
        who: str,
        why: str,
    ) -> RoutingTable | None:
        """Read, decide, write; again from the start if another writer came in between."""
        for _ in range(ATTEMPTS):
            try:
                with self._engine.begin() as connection:
                    snapshot = _read(connection, model)
                    plan = decide(snapshot)
                    if plan is None:
                        return snapshot.table
                    return self._write(connection, snapshot, plan, who=who, why=why)
            except (_LostRaceError, IntegrityError):
                continue
        raise ConflictError(f"model {model!r} is being changed by too many at once; try again")

    def _write(
        self, connection: Connection, snapshot: Snapshot, plan: Plan, *, who: str, why: str
    ) -> RoutingTable | None:
        """Carry a plan out: the routing table first, which is where a race is lost."""
        steps = allowed_steps(snapshot, plan)
        table = build_table(snapshot, plan)
        _claim(connection, snapshot, table)
        if plan.arrival is not None:
            connection.execute(insert(tables.versions).values(_version_values(plan.arrival)))
        for step in steps:
            entry = AuditRow(
                snapshot.model,
                step.version,
                snapshot.revision + 1,
                step.from_state,
                step.to,
                who,
                why,
                self._clock(),
            )
            connection.execute(insert(tables.audit).values(asdict(entry)))
            _set_state(connection, snapshot.model, step.version, state=step.to)
        return table


def _read(connection: Connection, model: str) -> Snapshot:
    named = select(tables.models).where(tables.models.c.name == model)
    found = connection.execute(named).one_or_none()
    if found is None:
        return Snapshot(model)
    columns = [tables.versions.c[name] for name in _VERSION_FIELDS]
    of_model = select(*columns).where(tables.versions.c.model == model)
    rows = [_version_row(values) for values in connection.execute(of_model).mappings()]
    table = None if found.routing is None else _load_table(found.routing)
    return Snapshot(model, found.revision, table, {row.version: row for row in rows})


def _claim(connection: Connection, snapshot: Snapshot, table: RoutingTable | None) -> None:
    """Move the model from the revision we read to the next one: compare and swap."""
    routing = None if table is None else msgspec.json.encode(table).decode()
    revision = snapshot.revision + 1
    if snapshot.revision == 0:  # IntegrityError if another writer inserted it first
        model = {"name": snapshot.model, "revision": revision, "routing": routing}
        connection.execute(insert(tables.models).values(model))
        return
    claimed = connection.execute(
        update(tables.models)
        .where(tables.models.c.name == snapshot.model)
        .where(tables.models.c.revision == snapshot.revision)
        .values(revision=revision, routing=routing)
    )
    if claimed.rowcount != 1:
        raise _LostRaceError


def _set_state(connection: Connection, model: str, version: str, *, state: State) -> None:
    connection.execute(
        update(tables.versions)
        .where(tables.versions.c.model == model)
        .where(tables.versions.c.version == version)
        .values(state=state)
    )


def _version_values(row: VersionRow) -> dict[str, object]:
    manifest = row.manifest.model_dump_json(by_alias=True)
    return {name: getattr(row, name) for name in _VERSION_FIELDS} | {"manifest": manifest}


def _version_row(values: RowMapping) -> VersionRow:
    fields_ = {name: values[name] for name in _VERSION_FIELDS}
    fields_["manifest"] = Manifest.model_validate_json(values["manifest"])
    return VersionRow(**fields_)


def _load_table(routing: str) -> RoutingTable:
    return msgspec.json.decode(routing, type=RoutingTable)


def _present(table: RoutingTable | None) -> RoutingTable:
    assert table is not None  # only a rejection can leave a model without a live version
    return table
