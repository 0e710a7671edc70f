"""``/api/v1/models/NAME/guards``: what guards do on live traffic, and which of them may act."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from gateway.api.access import caller_of
from gateway.api.rollout import Rollout
from gateway.errors import ConflictError
from gateway.registry.registry import Registry
from guards.outlier.guard import OutlierGuard, OutlierSettings
from guards.quality.expectation import State, judge_at_most
from guards.settings import Settings
from models.manifest import ModelName

Json = dict[str, Any]


class Confirmation(Settings):
    """Why a guard may act, and whether although the figures do not settle it."""

    anyway: bool = False
    why: Annotated[str, Field(max_length=1000)] = ""


class GuardRoutes:
    """Shows the share of live rows that a guard finds strange, and confirms it.

    That share holds true outliers as well, so it can only make the false alarms look more.
    """

    def __init__(
        self, registry: Registry, rollout: Rollout, *, report: Callable[[str], Json]
    ) -> None:
        self._registry = registry
        self._rollout = rollout
        self._report = report

    def router(self) -> APIRouter:
        """List the routes; `access.required_right` says who may call them."""
        router = APIRouter(prefix="/api/v1/models/{model}/guards", tags=["management"])
        router.add_api_route("", self.guards, methods=["GET"])
        router.add_api_route("/outlier/confirm", self.confirm, methods=["POST"])
        return router

    def guards(self, model: ModelName) -> Json:
        """Tell how the guard of the live version does on live traffic."""
        version, settings, is_dry = self._live(model)
        found = [] if settings is None else [self._told(model, version, settings, is_dry=is_dry)]
        return {"model": model, "version": version, "guards": found}

    async def confirm(
        self, request: Request, model: ModelName, wanted: Confirmation | None = None
    ) -> Json:
        """Let the outlier guard act, once its alarms on live traffic keep the promise."""
        caller = caller_of(request.scope, "operate")
        wanted = wanted or Confirmation()
        version, settings, is_dry = await run_in_threadpool(self._live, model)
        if settings is None:
            raise ConflictError(f"version {version!r} of model {model!r} has no outlier guard")
        told = await run_in_threadpool(self._told, model, version, settings, is_dry=is_dry)
        if told["state"] != State.HOLDS and not wanted.anyway:
            raise ConflictError(
                f"the false alarms of guard 'outlier' are not confirmed: {told['reason']}; "
                "wait for more traffic, or confirm it anyway"
            )
        why = f"guard outlier may act: {told['reason']}" + (f"; {wanted.why}" if wanted.why else "")
        change = await self._rollout.confirm(
            model, OutlierGuard.name, version=version, who=str(caller), why=why
        )
        is_dry = OutlierGuard.name in change.table.dry_run
        told |= {"dry_run": is_dry, "acknowledged": change.acknowledged}
        return {"model": model, "version": version, **told}

    def _live(self, model: str) -> tuple[str, OutlierSettings | None, bool]:
        """Find the live version, the settings of its outlier guard, and whether it is dry."""
        rows = {row.version: row.manifest for row in self._registry.versions(model)}
        table = self._registry.table(model)
        if table is None:
            raise ConflictError(f"model {model!r} has no live version")
        settings = rows[table.live].guards.outlier
        is_dry = OutlierGuard.name in table.dry_run or (
            settings is not None and settings.dry_run is True
        )
        return table.live, settings, is_dry

    def _told(self, model: str, version: str, settings: OutlierSettings, *, is_dry: bool) -> Json:
        report = self._report(model)
        seen = next(
            (v["strange"] for v in report["versions"] if v["version"] == version),
            {"hits": 0, "n": 0},
        )
        promised = settings.aim.guarantee(0).alpha
        judged = judge_at_most(
            promised, seen["hits"], seen["n"], alpha=report["alpha"], outcome="rows"
        )
        return {
            "guard": OutlierGuard.name,
            "action": settings.action,
            "dry_run": is_dry,
            "alpha": promised,
            "state": str(judged.state),
            "rows": seen["n"],
            "strange": seen["hits"],
            "share": judged.estimate,
            "low": judged.low,
            "high": judged.high,
            "reason": judged.reason,
        }
