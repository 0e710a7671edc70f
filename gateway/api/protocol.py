"""The server's endpoints of the Open Inference Protocol; a model's own are on its replicas.

Source: Open Inference Protocol v2, ``inference_rest.md``; ``/v2/models`` is KServe's addition,
the statistics Triton's ``extension_statistics.md``.
"""

import asyncio
import re
from collections.abc import Iterable
from functools import partial
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from gateway.api.fleet import Fleet
from gateway.errors import (
    MethodNotAllowedError,
    NotFoundError,
    NotReadyError,
    UnknownModelError,
    UnsupportedError,
)
from gateway.registry.registry import Registry
from models.manifest import MODEL_NAME, RESERVED_NAMES

READY_S = 5.0  # Serve's own health checks take at most as long
# Only what is true: clients act on it.
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
)
NOT_SERVED = {  # of the protocol's extensions
    "/v2/systemsharedmemory": "shared memory",
    "/v2/systemsharedmemory/{rest:path}": "shared memory",
    "/v2/cudasharedmemory": "shared memory",
    "/v2/cudasharedmemory/{rest:path}": "shared memory",
    "/v2/trace/setting": "changing trace settings",
    "/v2/logging": "changing log settings",
}
ANY_METHOD = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]

_MODEL_NAME = re.compile(MODEL_NAME)


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


def check_model_path(name: str) -> None:
    """Raise NotFoundError if no model can have this name."""
    if not _MODEL_NAME.fullmatch(name) or name in RESERVED_NAMES:
        raise NotFoundError


class ProtocolRoutes:
    """Everything under ``/v2`` that no replica answers."""

    def __init__(self, registry: Registry, fleet: Fleet) -> None:
        self._registry = registry
        self._fleet = fleet

    def router(self) -> APIRouter:
        """List the routes."""
        router = APIRouter(tags=["Open Inference Protocol"])
        get = ["GET"]
        router.add_api_route("/v2", self.server, methods=get)
        # Clients write either, and none of them follows a redirect.
        router.add_api_route("/v2/", self.server, methods=get, include_in_schema=False)
        router.add_api_route("/v2/health/live", self.live, methods=get)
        router.add_api_route("/v2/health/ready", self.ready, methods=get)
        router.add_api_route("/v2/models", self.models, methods=get)
        router.add_api_route("/v2/models/stats", self.statistics, methods=get)
        for path, what in NOT_SERVED.items():
            router.add_api_route(
                path, partial(_refuse, what), methods=ANY_METHOD, include_in_schema=False
            )
        router.add_api_route(
            "/v2/models/{rest:path}", self.not_here, methods=ANY_METHOD, include_in_schema=False
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
        """Name the models that have a live version and are not unloaded."""
        return {"models": [table.model for table in self._registry.tables()]}

    async def statistics(self) -> dict[str, Any]:
        """Tell what every version that answers has counted since its replicas started."""
        tables = await run_in_threadpool(self._registry.tables)
        asked = (self._fleet.statistics(table.model) for table in tables)
        told = await asyncio.gather(*asked)
        return {"model_stats": [stats for of_model in told for stats in of_model]}

    def not_here(self, request: Request, rest: str) -> None:
        """Say why a model's path came to the root: nobody there serves it."""
        if rest == "stats":
            raise MethodNotAllowedError("GET")
        model = rest.partition("/")[0]
        check_model_path(model)
        if b"%" in request.scope.get("raw_path", b""):
            raise NotFoundError  # no name needs escapes, and HAProxy does not look into them
        table = self._registry.table(model)
        if table is None:
            raise UnknownModelError(model)
        if not table.loaded:
            raise NotReadyError(f"model {model!r} is unloaded")
        raise NotReadyError(f"model {model!r} is registered, but does not answer yet")


def _refuse(what: str) -> None:
    raise UnsupportedError(what)
