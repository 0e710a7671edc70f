"""``/api/v1``: register, promote, roll back, and see what is there."""

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

from gateway.api.access import CALLER
from gateway.api.fleet import Fleet
from gateway.api.problems import MAX_JSON_BYTES
from gateway.api.protocol import ready_models
from gateway.api.rollout import Change, Rollout
from gateway.api.upload import receive_bundle
from gateway.config import Config
from gateway.errors import (
    ForbiddenError,
    MediaTypeError,
    TooLargeError,
    UnauthenticatedError,
)
from gateway.registry.gates import admit
from gateway.registry.keys import Caller, Right
from gateway.registry.lifecycle import VersionRow
from gateway.registry.registry import Registry
from guards.settings import Settings
from models.manifest import ModelName, Version
from models.signing import TrustedKeys

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
        *,
        config: Config,
        trusted: Callable[[], TrustedKeys],
        report: Callable[[str], Json],
    ) -> None:
        self._registry = registry
        self._fleet = fleet
        self._rollout = Rollout(registry, fleet)
        self._staging = config.state / "staging"
        self._max_bundle_bytes = config.server.max_bundle_bytes
        self._trusted = trusted
        self._report = report

    def router(self) -> APIRouter:
        """List the routes; `access.required_right` says who may call them."""
        router = APIRouter(prefix="/api/v1", tags=["management"])
        small = APIRouter(max_body_size=MAX_JSON_BYTES)
        small.add_api_route("/status", self.status, methods=["GET"])
        small.add_api_route("/models", self.models, methods=["GET"])
        small.add_api_route("/models/{model}", self.model, methods=["GET"])
        small.add_api_route("/models/{model}/report", self.report, methods=["GET"])
        small.add_api_route("/models/{model}/audit", self.audit, methods=["GET"])
        small.add_api_route("/models/{model}/promote", self.promote, methods=["POST"])
        small.add_api_route("/models/{model}/rollback", self.rollback, methods=["POST"])
        # Bounded by `server.max_bundle_bytes` while it streams, which needs no memory.
        router.add_api_route(
            "/models", self.register, methods=["POST"], openapi_extra={"requestBody": TAR_BODY}
        )
        router.include_router(small)
        return router

    async def register(
        self,
        request: Request,
        as_: Annotated[Literal["live", "shadow"], Query(alias="as")],
        trust_code: bool = False,
    ) -> Json:
        """Take a bundle as a tar stream: stage, check, keep, register, deploy."""
        caller = _caller(request, "register")
        if as_ == "live":
            caller = _caller(request, "operate")  # it routes traffic
        self._check_upload(request)
        self._staging.mkdir(mode=0o700, parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(dir=self._staging))
        try:
            await receive_bundle(request.stream(), staged, max_bytes=self._max_bundle_bytes)
            bundle = await run_in_threadpool(admit, staged, self._trusted(), trust_code=trust_code)
            change = await self._rollout.register(
                bundle, as_=as_, trust_code=trust_code, who=str(caller)
            )
        finally:
            await run_in_threadpool(shutil.rmtree, staged, ignore_errors=True)
        manifest = bundle.manifest
        return {
            "model": manifest.name,
            "version": manifest.version,
            "digest": bundle.digest,
            "state": as_,
            "golden": "reproduced",
            **_described(change),
        }

    async def promote(
        self, request: Request, model: ModelName, wanted: Promotion | None = None
    ) -> Json:
        """Make a version live, the shadow if none is named."""
        caller = _caller(request, "operate")
        wanted = wanted or Promotion()
        change = await self._rollout.promote(model, wanted.version, who=str(caller), why=wanted.why)
        return {"model": model, **_described(change)}

    async def rollback(
        self, request: Request, model: ModelName, wanted: Rollback | None = None
    ) -> Json:
        """Return to the previous version."""
        caller = _caller(request, "operate")
        why = wanted.why if wanted is not None else ""
        change = await self._rollout.rollback(model, who=str(caller), why=why)
        return {"model": model, **_described(change)}

    def models(self) -> Json:
        """List all models."""
        return {"models": [self._summary(name) for name in self._registry.models()]}

    def model(self, model: ModelName) -> Json:
        """Describe a model: its routing table and all its versions."""
        versions = self._registry.versions(model)
        return {**self._summary(model), "versions": [_version(row) for row in versions]}

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
        """Tell which models answer, and how their expectations stand."""
        names = await run_in_threadpool(self._registry.models)
        ready = await ready_models(self._fleet, names)
        models = [
            {
                **await run_in_threadpool(self._summary, name),
                "ready": ready[name],
                "expectations": await run_in_threadpool(self._expectations, name),
            }
            for name in names
        ]
        states = Counter(e["state"] for model in models for e in model["expectations"])
        return {"models": models, "expectations": dict(states)}

    def _summary(self, model: str) -> Json:
        table = self._registry.table(model)
        return {"name": model, "table": None if table is None else msgspec.to_builtins(table)}

    def _expectations(self, model: str) -> list[Json]:
        expectations: list[Json] = self._report(model)["expectations"]
        return expectations

    def _check_upload(self, request: Request) -> None:
        headers = request.headers
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != TAR or headers.get("content-encoding", "identity") != "identity":
            raise MediaTypeError(TAR)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._max_bundle_bytes:
            raise TooLargeError(self._max_bundle_bytes)


def _caller(request: Request, right: Right) -> Caller:
    """Whoever asks; a route that changes something calls this, whatever let the request in.

    Raises:
        UnauthenticatedError: nobody in particular asks.
        ForbiddenError: the caller's role lacks the right.
    """
    caller: Caller | None = request.scope.get(CALLER)
    if caller is None:
        raise UnauthenticatedError
    if not caller.may(right):
        raise ForbiddenError(f"a key with the role {caller.role!r} may not {right}")
    return caller


def _described(change: Change) -> Json:
    table = change.table
    return {
        "revision": table.revision,
        "live": table.live,
        "shadow": table.shadow,
        "previous": table.previous,
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
