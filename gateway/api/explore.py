"""``/api/v1/explore``: the kill switches of exploration, for all models and for each."""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from gateway.api.access import caller_of
from gateway.api.fleet import Fleet
from gateway.errors import GatewayError
from gateway.registry.registry import Registry
from gateway.registry.switches import ALL, Switches
from guards.settings import Settings
from models.manifest import ModelName

Json = dict[str, Any]
log = logging.getLogger(__name__)


class Turn(Settings):
    """On or off, and why."""

    on: bool
    why: Annotated[str, Field(max_length=1000)] = ""


class ExploreRoutes:
    """Turns switches; no change of versions is waited for, and every replica looks by itself."""

    def __init__(self, registry: Registry, fleet: Fleet, switches: Switches) -> None:
        self._registry = registry
        self._fleet = fleet
        self._switches = switches

    def router(self) -> APIRouter:
        """List the routes; `access.required_right` says who may call them."""
        router = APIRouter(prefix="/api/v1", tags=["management"])
        router.add_api_route("/explore", self.state, methods=["GET"])
        router.add_api_route("/explore", self.turn_all, methods=["POST"])
        router.add_api_route("/models/{model}/explore", self.turn_one, methods=["POST"])
        return router

    def state(self) -> Json:
        """Tell which models may explore, and who turned what."""
        models = self._registry.models()
        return {
            "everywhere": self._switches.of(ALL).everywhere,
            "models": {model: self._switches.of(model).is_on for model in models},
            "history": [_told(row) for row in self._switches.history()],
        }

    async def turn_all(self, request: Request, turn: Turn) -> Json:
        """Let all models explore, or none; a model that is off by itself stays off."""
        caller = caller_of(request.scope, "operate")
        await run_in_threadpool(
            self._switches.turn, ALL, explore=turn.on, who=str(caller), why=turn.why
        )
        tables = await run_in_threadpool(self._registry.tables)
        return await self._tell(ALL, [table.model for table in tables], on=turn.on)

    async def turn_one(self, request: Request, model: ModelName, turn: Turn) -> Json:
        """Let one model explore, or not; off for all stays off."""
        caller = caller_of(request.scope, "operate")
        await run_in_threadpool(self._registry.versions, model)
        await run_in_threadpool(
            self._switches.turn, model, explore=turn.on, who=str(caller), why=turn.why
        )
        return await self._tell(model, [model], on=turn.on)

    async def _tell(self, model: str, models: list[str], *, on: bool) -> Json:
        told = await asyncio.gather(*map(self._push, models))
        return {
            "model": model or None,
            "on": on,
            "acknowledged": dict(zip(models, told, strict=True)),
        }

    async def _push(self, model: str) -> int:
        """Tell the replicas of a model; those that do not hear it see it by themselves."""
        try:
            switch = await run_in_threadpool(self._switches.of, model)
            return await self._fleet.explore(model, switch)
        except GatewayError as error:
            log.warning("the replicas of %s are not told: %s", model, error)
            return 0


def _told(row: Json) -> Json:
    at_s = row.pop("at_s")
    return {**row, "at": datetime.fromtimestamp(at_s, UTC).isoformat()}
