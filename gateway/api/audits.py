"""``/api/v1/models/NAME/audits``: which rows to label, and which of those still wait."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from gateway.api.access import caller_of
from gateway.evaluate.auditor import Auditor
from guards.settings import Settings
from models.manifest import ModelName

Json = dict[str, Any]


class Wanted(Settings):
    """How many labels somebody is willing to give."""

    budget: int = Field(ge=1, le=5000, description="Labels, on average.")


class AuditRoutes:
    """Chooses rows; their labels come back as feedback."""

    def __init__(self, auditor: Auditor) -> None:
        self._auditor = auditor

    def router(self) -> APIRouter:
        """List the routes; `access.required_right` says who may call them."""
        router = APIRouter(prefix="/api/v1/models/{model}/audits", tags=["management"])
        router.add_api_route("", self.waiting, methods=["GET"])
        router.add_api_route("", self.choose, methods=["POST"])
        return router

    def waiting(self, model: ModelName) -> Json:
        """List the chosen rows that have no label yet."""
        return self._auditor.waiting(model)

    async def choose(self, request: Request, model: ModelName, wanted: Wanted) -> Json:
        """Choose rows to label, each with its propensity."""
        caller_of(request.scope, "operate")
        return await run_in_threadpool(self._auditor.choose, model, budget=wanted.budget)
