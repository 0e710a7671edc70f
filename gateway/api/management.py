"""``/api/v1``: register, promote, roll back, and see what is there."""

import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from gateway.api.access import caller_of
from gateway.api.contest import check_contest
from gateway.api.fleet import Fleet
from gateway.api.power import describe_power
from gateway.api.protocol import ready_models
from gateway.api.rollout import Change, Rollout
from gateway.api.upload import receive_bundle
from gateway.config import Config
from gateway.errors import BundleRefusedError, MediaTypeError
from gateway.registry.deaths import Deaths
from gateway.registry.gates import admit
from gateway.registry.lifecycle import VersionRow
from gateway.registry.registry import Registry
from guards.settings import Settings
from models.bundle import POWER_FILE, Bundle, load_power_card, parse_power_card
from models.contract import compare_contracts
from models.manifest import Manifest, ModelName, Version
from models.signing import TrustedKeys

log = logging.getLogger(__name__)

Json = dict[str, Any]
Why = Annotated[str, Field(max_length=1000)]

TAR = "application/x-tar"
TAR_BODY = {
    "required": True,
    "description": "The files of a bundle, as `tar --format=ustar -C BUNDLE -c .` writes them.",
    "content": {TAR: {"schema": {"type": "string", "format": "binary"}}},
}
SHOWN_OF_MANIFEST = {"runtime", "signature", "expectations", "fallback", "provenance"}


class Promotion(Settings):
    """Which version to promote, and why."""

    version: Version | None = None  # the shadow
    anyway: bool = False  # although labels say that it is worse
    why: Why = ""


class Rollback(Settings):
    """Why to return to the previous version."""

    why: Why = ""


class ManagementRoutes:
    """Everything under ``/api/v1``."""

    def __init__(
        self,
        registry: Registry,
        fleet: Fleet,
        rollout: Rollout,
        *,
        config: Config,
        trusted: Callable[[], TrustedKeys],
        report: Callable[[str], Json],
        deaths: Deaths,
    ) -> None:
        self._registry = registry
        self._fleet = fleet
        self._rollout = rollout
        self._staging = config.state / "staging"
        self._trusted = trusted
        self._report = report
        self._deaths = deaths

    def router(self) -> APIRouter:
        """List the routes; `access.required_right` says who may call them."""
        router = APIRouter(prefix="/api/v1", tags=["management"])
        get, post = ["GET"], ["POST"]
        router.add_api_route("/status", self.status, methods=get)
        router.add_api_route("/models", self.models, methods=get)
        router.add_api_route(
            "/models", self.register, methods=post, openapi_extra={"requestBody": TAR_BODY}
        )
        router.add_api_route("/models/{model}", self.model, methods=get)
        router.add_api_route("/models/{model}/report", self.report, methods=get)
        router.add_api_route("/models/{model}/audit", self.audit, methods=get)
        router.add_api_route("/models/{model}/promote", self.promote, methods=post)
        router.add_api_route("/models/{model}/rollback", self.rollback, methods=post)
        return router

    async def register(
        self,
        request: Request,
        as_: Annotated[Literal["live", "shadow"], Query(alias="as")],
        trust_code: bool = False,
    ) -> Json:
        """Take a bundle as a tar stream: stage, check, keep, register, deploy."""
        caller = caller_of(request.scope, "register")
        if as_ == "live":
            caller = caller_of(request.scope, "operate")  # it routes traffic
        _check_media_type(request)
        self._staging.mkdir(mode=0o700, parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(dir=self._staging))
        try:
            await receive_bundle(request.stream(), staged)
            bundle = await run_in_threadpool(admit, staged, self._trusted(), trust_code=trust_code)
            contract = await run_in_threadpool(self._contract, bundle.manifest)
            change = await self._rollout.register(
                bundle, as_=as_, trust_code=trust_code, who=str(caller)
            )
            return _registered(bundle, change, as_=as_) | {"contract": contract}
        finally:
            await run_in_threadpool(shutil.rmtree, staged, ignore_errors=True)

    def _contract(self, new: Manifest) -> Json | None:
        """Compare a contract with that of the version that is live; None where nobody is."""
        table = self._registry.table(new.name)
        if table is None:
            return None
        rows = self._registry.versions(new.name)
        live = next(row.manifest for row in rows if row.version == table.live)
        found = compare_contracts(live, new)
        return {"since": table.live, "verdict": found.verdict, "changes": list(found.sentences)}

    async def promote(
        self, request: Request, model: ModelName, wanted: Promotion | None = None
    ) -> Json:
        """Make a version live, the shadow if none is named."""
        caller = caller_of(request.scope, "operate")
        wanted = wanted or Promotion()
        if not wanted.anyway:
            check_contest(await run_in_threadpool(self._report, model), wanted.version)
        change = await self._rollout.promote(model, wanted.version, who=str(caller), why=wanted.why)
        return {"model": model, **_described(change)}

    async def rollback(
        self, request: Request, model: ModelName, wanted: Rollback | None = None
    ) -> Json:
        """Return to the previous version."""
        caller = caller_of(request.scope, "operate")
        why = wanted.why if wanted is not None else ""
        change = await self._rollout.rollback(model, who=str(caller), why=why)
        return {"model": model, **_described(change)}

    def models(self) -> Json:
        """List all models: who is live, shadow and previous, and the state of every version."""
        return {"models": [self._summary(name) for name in self._registry.models()]}

    def model(self, model: ModelName) -> Json:
        """Describe a model: its routing table and all its versions."""
        rows = self._registry.versions(model)
        versions = [_version(row) | {"power": self._power(row.digest)} for row in rows]
        table = self._registry.table(model)
        routing = None if table is None else msgspec.to_builtins(table)
        return {"name": model, "table": routing, "versions": versions}

    def report(self, model: ModelName) -> Json:
        """Tell what the evaluator found."""
        self._registry.versions(model)
        return self._report(model)

    def audit(self, model: ModelName) -> Json:
        """List every transition, oldest first."""
        self._registry.versions(model)
        rows = self._registry.audit(model)
        return {"audit": [{**asdict(row), "at": _utc(row.at_s)} for row in rows]}

    async def status(self) -> Json:
        """Tell which models answer, how they do, and how the gateway's own processes are."""
        names = await run_in_threadpool(self._registry.models)
        ready = await ready_models(self._fleet, names)
        reports = [await run_in_threadpool(self._report, name) for name in names]
        held = [len(await run_in_threadpool(self._deaths.quarantine, name)) for name in names]
        states = Counter(found["state"] for report in reports for found in report["expectations"])
        return {
            "models": [
                {"name": name, "ready": ready[name], "report": report, "quarantined": quarantined}
                for name, report, quarantined in zip(names, reports, held, strict=True)
            ],
            "expectations": dict(states),
            "processes": await self._fleet.processes(),
        }

    def _power(self, digest: str) -> Json | None:
        """Read a power card from the store; None if there is none, or none that can be read."""
        try:
            content = self._registry.artifacts.read(digest, POWER_FILE)
            return describe_power(None if content is None else parse_power_card(content))
        except (BundleRefusedError, ValueError) as error:
            log.warning("the power card of %s cannot be read: %s", digest, error)
            return None

    def _summary(self, model: str) -> Json:
        table = self._registry.table(model)
        return {
            "name": model,
            "revision": table.revision if table else None,
            "live": table.live if table else None,
            "shadow": table.shadow if table else None,
            "previous": table.previous if table else None,
            "versions": {row.version: row.state for row in self._registry.versions(model)},
        }


def _check_media_type(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != TAR or request.headers.get("content-encoding", "identity") != "identity":
        raise MediaTypeError(f"{TAR}, without a content encoding")


def _registered(bundle: Bundle, change: Change, *, as_: str) -> Json:
    """Tell what was taken in, while its files are still there."""
    manifest = bundle.manifest
    return {
        "model": manifest.name,
        "version": manifest.version,
        "digest": bundle.digest,
        "state": as_,
        "golden": "reproduced",
        **_described(change),
        "power": describe_power(load_power_card(bundle)),
    }


def _described(change: Change) -> Json:
    table = change.table
    return {
        "revision": table.revision,
        "live": table.live,
        "shadow": table.shadow,
        "previous": table.previous,
        "dry_run": list(table.dry_run),
        "acknowledged": change.acknowledged,
    }


def _version(row: VersionRow) -> Json:
    return {
        "version": row.version,
        "state": row.state,
        "digest": row.digest,
        "trust_code": row.trust_code,
        "registered_at": _utc(row.registered_at_s),
        "manifest": row.manifest.model_dump(mode="json", include=SHOWN_OF_MANIFEST),
    }


def _utc(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()
