"""``/api/v1/models/NAME``: what another policy would have earned, and the log for training."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Response

from gateway.evaluate.asked import AskedLog
from gateway.evaluate.export import FORMATS
from gateway.wire import READ_HEADER
from models.manifest import ModelName

Json = dict[str, Any]
Since = Annotated[float, Query(ge=0, le=1e11, description="Unix time, s: recorded since then.")]
Until = Annotated[float | None, Query(ge=0, le=1e11, description="Unix time, s: before then.")]


class ChoiceLogRoutes:
    """Reads the log of choices when asked; runs on threads, one answer at a time."""

    def __init__(self, log: AskedLog) -> None:
        self._log = log

    def router(self) -> APIRouter:
        """List the routes; `access.required_right` says who may call them."""
        router = APIRouter(prefix="/api/v1", tags=["management"])
        router.add_api_route("/models/{model}/estimate", self.estimate, methods=["GET"])
        router.add_api_route("/models/{model}/export", self.export, methods=["GET"])
        return router

    def estimate(
        self,
        model: ModelName,
        target: Annotated[str, Query(min_length=1, max_length=200)],
        since: Since = 0.0,
        until: Until = None,
    ) -> Json:
        """Estimate what a policy or a version would have earned, or refuse to."""
        return self._log.estimate(model, target, since_s=since, until_s=until)

    def export(
        self,
        model: ModelName,
        format_: Annotated[str, Query(alias="format", max_length=20)] = "parquet",
        since: Since = 0.0,
        until: Until = None,
    ) -> Response:
        """Write the joined decisions with propensities and weights; the header says of what."""
        content, read = self._log.export(model, format_, since_s=since, until_s=until)
        told = {READ_HEADER: orjson.dumps(read.to_json()).decode()}
        return Response(content, media_type=FORMATS[format_], headers=told)
