"""The server's endpoints of the Open Inference Protocol; a model's own are on its replicas.

Source: Open Inference Protocol v2, ``inference_rest.md``; ``/v2/models`` is KServe's addition,
the repository index Triton's ``extension_model_repository.md``.
"""

import asyncio
import json
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from gateway.api.fleet import Fleet
from gateway.errors import BadRequestError, NotFoundError, NotReadyError, UnknownModelError
from gateway.registry.lifecycle import VersionRow
from gateway.registry.registry import Registry
from models.manifest import RESERVED_NAMES

READY_S = 5.0  # Serve's own health checks take at most as long
EXTENSIONS = ("binary_tensor_data", "parameters")  # only what is true; clients act on it

_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")  # as `models.manifest.ModelName`


def server_version() -> str:
    """Version of the gateway; unknown when it runs from a source tree that is not installed."""
    try:
        return distribution_version("handrail")
    except PackageNotFoundError:
        return "unknown"


async def ready_models(fleet: Fleet, models: Iterable[str]) -> dict[str, bool]:
    """Ask all models at once, for at most `READY_S`; one that fails to say is not ready."""
    names = list(models)
    asked = (asyncio.wait_for(fleet.ready(name), READY_S) for name in names)
    answers = await asyncio.gather(*asked, return_exceptions=True)
    return {name: answer is True for name, answer in zip(names, answers, strict=True)}


class ProtocolRoutes:
    """Everything under ``/v2`` that no replica answers."""

    def __init__(self, registry: Registry, fleet: Fleet) -> None:
        self._registry = registry
        self._fleet = fleet

    def router(self) -> APIRouter:
        """List the routes."""
        router = APIRouter(tags=["Open Inference Protocol"])
        get, post = ["GET"], ["POST"]
        router.add_api_route("/v2", self.server, methods=get)
        # Clients write either, and none of them follows a redirect.
        router.add_api_route("/v2/", self.server, methods=get, include_in_schema=False)
        router.add_api_route("/v2/health/live", self.live, methods=get)
        router.add_api_route("/v2/health/ready", self.ready, methods=get)
        router.add_api_route("/v2/models", self.models, methods=get)
        router.add_api_route("/v2/repository/index", self.index, methods=post)
        router.add_api_route(
            "/v2/models/{rest:path}",
            self.not_here,
            methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            include_in_schema=False,
        )
        return router

    async def server(self) -> dict[str, Any]:
        """Describe the server."""
        return {"name": "handrail", "version": server_version(), "extensions": list(EXTENSIONS)}

    async def live(self) -> dict[str, bool]:
        """Answer as long as the process does."""
        return {"live": True}

    async def ready(self) -> dict[str, bool]:
        """Answer 200 only when every live model does."""
        tables = await run_in_threadpool(self._registry.tables)
        ready = await ready_models(self._fleet, [table.model for table in tables])
        missing = [model for model, is_ready in ready.items() if not is_ready]
        if missing:
            raise NotReadyError(f"these models do not answer: {', '.join(missing)}")
        return {"ready": True, "live": True}

    def models(self) -> dict[str, list[str]]:
        """Name the models that have a live version."""
        return {"models": [table.model for table in self._registry.tables()]}

    async def index(self, request: Request) -> list[dict[str, str]]:
        """List every version; with ``{"ready": true}`` only those that answer."""
        only_ready = _wants_ready(await request.body())
        tables = await run_in_threadpool(self._registry.tables)
        ready = await ready_models(self._fleet, [table.model for table in tables])
        entries = [
            _index_entry(row, ready.get(row.model, False))
            for model in await run_in_threadpool(self._registry.models)
            for row in await run_in_threadpool(self._registry.versions, model)
        ]
        return [entry for entry in entries if not only_ready or entry["state"] == "READY"]

    def not_here(self, rest: str) -> None:
        """Say why a model's path came to the root: nobody there serves it."""
        model = rest.partition("/")[0]
        if not _MODEL_NAME.fullmatch(model) or model in RESERVED_NAMES:
            raise NotFoundError
        if self._registry.table(model) is None:
            raise UnknownModelError(model)
        raise NotReadyError(f"model {model!r} is registered, but does not answer yet")


def _index_entry(row: VersionRow, model_ready: bool) -> dict[str, str]:
    answers = row.state == "live" and model_ready
    return {
        "name": row.model,
        "version": row.version,
        "state": "READY" if answers else "UNAVAILABLE",
        "reason": "" if answers else row.state,
    }


def _wants_ready(body: bytes) -> bool:
    """Read the optional filter; clients send it without a content type, or nothing at all."""
    try:
        message = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadRequestError("the body is not JSON") from error
    ready = message.get("ready", False) if isinstance(message, dict) else None
    if not isinstance(ready, bool):
        raise BadRequestError('the body must be empty or {"ready": true|false}')
    return ready
