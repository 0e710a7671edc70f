"""``/api/v1/models/NAME/quarantine``: which inputs ended replicas twice, and how to let them in."""

import logging
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool

from gateway.api.access import caller_of
from gateway.errors import NotFoundError
from gateway.registry.deaths import Deaths
from gateway.registry.registry import Registry
from models.manifest import ModelName

Json = dict[str, Any]
Fingerprint = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]
log = logging.getLogger(__name__)


class QuarantineRoutes:
    """Lists and lifts; replicas obey within a second."""

    def __init__(self, registry: Registry, deaths: Deaths) -> None:
        self._registry = registry
        self._deaths = deaths

    def router(self) -> APIRouter:
        """List the routes; `access.required_right` says who may call them."""
        router = APIRouter(prefix="/api/v1/models/{model}/quarantine", tags=["management"])
        router.add_api_route("", self.quarantine, methods=["GET"])
        router.add_api_route("/{fingerprint}", self.lift, methods=["DELETE"])
        return router

    def quarantine(self, model: ModelName) -> Json:
        """List the quarantined inputs of a model by their keyed fingerprint."""
        self._registry.versions(model)
        return {
            "quarantine": [
                {
                    "fingerprint": one.fingerprint.hex(),
                    "deaths": one.deaths,
                    "until": datetime.fromtimestamp(one.until_s, UTC).isoformat(),
                }
                for one in self._deaths.quarantine(model)
            ]
        }

    async def lift(self, request: Request, model: ModelName, fingerprint: Fingerprint) -> Json:
        """Let inputs in again; their deaths are forgotten."""
        caller = caller_of(request.scope, "operate")
        self._registry.versions(model)
        lifted = await run_in_threadpool(self._deaths.lift, model, bytes.fromhex(fingerprint))
        if not lifted:
            raise NotFoundError
        log.warning("%s lifted the quarantine of %s for model %s", caller, fingerprint, model)
        return {"lifted": fingerprint}
