"""The model repository of the protocol: what there is, and taking models off and back on.

Source: Triton's ``extension_model_repository.md``; KServe's client reads the same answers.
"""

import asyncio
import json
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from gateway.api.access import caller_of
from gateway.api.fleet import Fleet, Movement
from gateway.api.protocol import check_model_path
from gateway.api.rollout import Rollout
from gateway.errors import BadRequestError, UnsupportedError
from gateway.registry.lifecycle import VersionRow
from gateway.registry.registry import Registry
from gateway.registry.routing import RoutingTable

Json = dict[str, Any]


class RepositoryRoutes:
    """Everything under ``/v2/repository``."""

    def __init__(self, registry: Registry, fleet: Fleet, rollout: Rollout) -> None:
        self._registry = registry
        self._fleet = fleet
        self._rollout = rollout

    def router(self) -> APIRouter:
        """List the routes; `access.required_right` says who may call them."""
        router = APIRouter(prefix="/v2/repository", tags=["Open Inference Protocol"])
        post = ["POST"]
        router.add_api_route("/index", self.index, methods=post)
        router.add_api_route("/models/{model}/load", self.load, methods=post)
        router.add_api_route("/models/{model}/unload", self.unload, methods=post)
        return router

    async def index(self, request: Request) -> list[dict[str, str]]:
        """List every version; with ``{"ready": true}`` only those that answer."""
        only_ready = _wants_ready(await request.body())
        moving = await self._fleet.moving()
        models = await run_in_threadpool(self._registry.models)
        described = await asyncio.gather(*(self._entries(m, moving.get(m)) for m in models))
        entries = [entry for of_model in described for entry in of_model]
        return [entry for entry in entries if not only_ready or entry["state"] == "READY"]

    async def load(self, request: Request, model: str) -> Json:
        """Let a registered model answer; one that does is left alone."""
        caller = caller_of(request.scope, "operate")
        check_model_path(model)
        _refuse_overrides(await request.body())
        await self._rollout.load(model, who=str(caller))
        return {"name": model, "load": True}

    async def unload(self, request: Request, model: str) -> Json:
        """Take a model off the data plane; it stays registered, and stays off over a restart."""
        caller = caller_of(request.scope, "operate")
        check_model_path(model)
        _read_object(await request.body())  # no model here depends on another one
        await self._rollout.unload(model, who=str(caller))
        return {"name": model, "unload": True}

    async def _entries(self, model: str, movement: Movement | None) -> list[dict[str, str]]:
        table = await run_in_threadpool(self._registry.table, model)
        rows = await run_in_threadpool(self._registry.versions, model)
        answering = await self._fleet.answering(model)
        return [_entry(row, table, movement, answers=row.version in answering) for row in rows]


def _entry(
    row: VersionRow, table: RoutingTable | None, movement: Movement | None, *, answers: bool
) -> dict[str, str]:
    state, reason = "UNAVAILABLE", str(row.state)
    if answers:
        state, reason = "READY", ""
    elif movement is not None and _is_warm(row.version, table):
        state = movement
    elif row.state == "live":
        reason = "does not answer"
    return {"name": row.model, "version": row.version, "state": state, "reason": reason}


def _is_warm(version: str, table: RoutingTable | None) -> bool:
    """Whether replicas keep this version for clients, once they are up."""
    return table is not None and table.ref(version) is not None and version != table.shadow


def _wants_ready(body: bytes) -> bool:
    """Read the optional filter; clients send it without a content type, or nothing at all."""
    ready = _read_object(body).get("ready", False)
    if not isinstance(ready, bool):
        raise BadRequestError('the body must be empty or {"ready": true|false}')
    return ready


def _refuse_overrides(body: bytes) -> None:
    """A registered version never changes, so neither can its configuration or its files."""
    parameters = _read_object(body).get("parameters", {})
    if not isinstance(parameters, dict):
        raise BadRequestError("parameters must be an object")
    if any(name == "config" or name.startswith("file:") for name in parameters):
        raise UnsupportedError("loading with another configuration or other files")


def _read_object(body: bytes) -> Json:
    try:
        message = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadRequestError("the body is not JSON") from error
    if not isinstance(message, dict):
        raise BadRequestError("the body must be empty or a JSON object")
    return message
