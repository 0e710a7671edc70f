"""Change who answers: first in the registry, then on every replica."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from starlette.concurrency import run_in_threadpool

from gateway.api.fleet import Fleet
from gateway.errors import GatewayError, NotReadyError
from gateway.registry.registry import Registry
from gateway.registry.routing import RoutingTable
from models.bundle import Bundle

log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Change:
    """A routing table, and how many replicas have it."""

    table: RoutingTable
    acknowledged: int


class Rollout:
    """One change of a model at a time; it goes on to its end when its caller hangs up."""

    def __init__(self, registry: Registry, fleet: Fleet) -> None:
        self._registry = registry
        self._fleet = fleet
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._running: set[asyncio.Task[Any]] = set()  # asyncio itself keeps weak ones only

    async def register(
        self, bundle: Bundle, *, as_: Literal["live", "shadow"], trust_code: bool, who: str
    ) -> Change:
        """Register an admitted bundle.

        Raises:
            ConflictError: the registry refuses it.
            NotReadyError: no replica can answer with it; it is rejected and changes nothing.
        """

        def decide() -> RoutingTable:
            return self._registry.register(bundle, as_=as_, trust_code=trust_code, who=who)

        return await self._to_the_end(bundle.manifest.name, decide, who=who)

    async def promote(self, model: str, version: str | None, *, who: str, why: str) -> Change:
        """Make a version live, the shadow if none is named.

        Raises:
            UnknownModelError: there is no such model or version.
            ConflictError: the registry refuses it.
            NotReadyError: no replica can answer with it; it is rejected and changes nothing.
        """

        def decide() -> RoutingTable:
            return self._registry.promote(model, version, who=who, why=why)

        return await self._to_the_end(model, decide, who=who)

    async def rollback(self, model: str, *, who: str, why: str) -> Change:
        """Return to the previous version.

        Raises:
            UnknownModelError: there is no such model.
            ConflictError: there is no previous version.
            NotReadyError: no replica has heard of it yet; the registry stands.
        """

        def decide() -> RoutingTable:
            return self._registry.rollback(model, who=who, why=why)

        return await self._to_the_end(model, decide, who=who)

    async def confirm(self, model: str, guard: str, *, version: str, who: str, why: str) -> Change:
        """Let a guard of the live version act that was in dry run.

        Raises:
            UnknownModelError: there is no such model.
            ConflictError: another version is live, or the guard waits for nothing.
            NotReadyError: no replica has heard of it yet; the registry stands.
        """

        def decide() -> RoutingTable:
            return self._registry.confirm(model, guard, version=version, who=who, why=why)

        return await self._to_the_end(model, decide, who=who)

    async def load(self, model: str, *, who: str) -> None:
        """Let a model answer: its live version, or the newest one if it has none.

        Raises:
            UnknownModelError: there is no such model.
            ConflictError: all its versions are rejected.
            NotReadyError: no replica can answer with it; a version that was live before stays so.
        """
        await self._to_the_end(model, lambda: self._registry.load(model, who=who), who=who)

    async def unload(self, model: str, *, who: str) -> None:
        """Take a model off the data plane until it is loaded; again is fine.

        Raises:
            UnknownModelError: there is no such model.
        """
        await self._shielded(self._take_off(model, who))

    async def _to_the_end(
        self, model: str, decide: Callable[[], RoutingTable], *, who: str
    ) -> Change:
        return await self._shielded(self._change(model, decide, who))

    async def _shielded(self, change: Coroutine[Any, Any, Result]) -> Result:
        task = asyncio.create_task(change)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _take_off(self, model: str, who: str) -> None:
        """Unload: replicas refuse from now on, and end what they have begun."""
        async with self._locks[model]:
            table = await run_in_threadpool(self._registry.unload, model, who=who)
            if table is not None:
                with suppress(GatewayError):  # no replica is no matter
                    await self._fleet.push(table)
                await self._fleet.remove(model)
        await self._fleet.shadow_changed()

    async def _change(self, model: str, decide: Callable[[], RoutingTable], who: str) -> Change:
        async with self._locks[model]:
            before = await run_in_threadpool(self._registry.table, model)
            table = await run_in_threadpool(decide)
            try:
                acknowledged = await self._apply(before, table)
            except GatewayError as error:
                await self._withdraw(before, table, who=who, why=f"did not start: {error}")
                raise
        await self._fleet.shadow_changed()
        return Change(table, acknowledged)

    async def _apply(self, before: RoutingTable | None, table: RoutingTable) -> int:
        """Make the replicas obey; a call that changed nothing repairs what is not running."""
        if before is None or not before.loaded or before.revision == table.revision:
            await self._fleet.deploy(table.model)
        acknowledged = await self._fleet.push(table)
        if acknowledged == 0:
            raise NotReadyError(f"no replica of model {table.model!r} took the new routing table")
        return acknowledged

    async def _withdraw(
        self, before: RoutingTable | None, table: RoutingTable, *, who: str, why: str
    ) -> None:
        """Take back out what this change brought in, and tell the replicas."""
        version = newcomer(before, table)
        if version is None:
            return
        log.warning("version %s of %s is rejected: %s", version, table.model, why)

        def reject() -> RoutingTable | None:
            return self._registry.reject(table.model, version, who=who, why=why)

        restored = await run_in_threadpool(reject)
        with suppress(GatewayError):  # the caller hears of the first failure, not of this one
            if restored is None:
                await self._fleet.remove(table.model)
            else:
                await self._fleet.push(restored)
        await self._fleet.shadow_changed()


def newcomer(before: RoutingTable | None, after: RoutingTable) -> str | None:
    """Name the version that a change brought in; None if it only returned to a known one."""
    if before is None:
        return after.live
    if after.live not in (before.live, before.previous):
        return after.live
    return after.shadow if after.shadow != before.shadow else None
