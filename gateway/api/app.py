"""The root application: the protocol's server endpoints, and the management API."""

import ipaddress
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from gateway.api.access import MODELS_PATH, Access
from gateway.api.audits import AuditRoutes
from gateway.api.choice_log import ChoiceLogRoutes
from gateway.api.explore import ExploreRoutes
from gateway.api.fleet import Fleet
from gateway.api.guards import GuardRoutes
from gateway.api.limit import BodyLimit
from gateway.api.management import ManagementRoutes
from gateway.api.problems import install_problems
from gateway.api.protocol import ProtocolRoutes, server_version
from gateway.api.quarantine import QuarantineRoutes
from gateway.api.repository import RepositoryRoutes
from gateway.api.rollout import Rollout
from gateway.config import Config
from gateway.evaluate.asked import AskedLog
from gateway.evaluate.auditor import Auditor
from gateway.registry.deaths import Deaths
from gateway.registry.keys import ApiKeys, Right
from gateway.registry.registry import Registry
from gateway.registry.switches import Switches
from models.signing import TrustedKeys

MAX_JSON_BYTES = 1 << 20  # a promotion is 100 bytes; this leaves room for a long `why`


def build_api(
    *,
    registry: Registry,
    keys: ApiKeys,
    fleet: Fleet,
    config: Config,
    trusted: Callable[[], TrustedKeys],
    report: Callable[[str], dict[str, Any]],
    log: AskedLog,
    auditor: Auditor,
) -> FastAPI:
    """Build the application that answers at ``/``.

    Args:
        registry: Versions and routing tables.
        keys: Who may do what.
        fleet: The replicas.
        config: Limits, allowed hosts, where to stage uploads.
        trusted: Whose signature on a bundle is accepted; asked at every registration.
        report: What the evaluator found about a model; its ``expectations`` each have a ``state``.
        log: Reads the log of choices.
        auditor: Chooses rows to label.
    """
    app = FastAPI(
        title="Handrail",
        version=server_version(),
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # these pages load scripts from other people's servers
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False},
    )
    rollout = Rollout(registry, fleet)  # one for all, so that a model changes once at a time
    deaths = Deaths(config.database_url)
    management = ManagementRoutes(
        registry, fleet, rollout, config=config, trusted=trusted, report=report, deaths=deaths
    )
    for routes in (
        RepositoryRoutes(registry, fleet, rollout),
        ProtocolRoutes(registry, fleet),
        management,
        GuardRoutes(registry, rollout, report=report),
        QuarantineRoutes(registry, deaths),
        ChoiceLogRoutes(log),
        AuditRoutes(auditor),
        ExploreRoutes(registry, fleet, Switches(config.database_url)),
    ):
        app.include_router(routes.router())
    install_problems(app)
    _stand_guard(app, keys, config)
    return app


def _stand_guard(app: FastAPI, keys: ApiKeys, config: Config) -> None:
    """Put in front of every route who may come in, and how much they may bring."""
    bundle_bytes = config.server.max_bundle_bytes
    app.add_middleware(
        BodyLimit, max_bytes=lambda path: bundle_bytes if path == MODELS_PATH else MAX_JSON_BYTES
    )
    app.add_middleware(
        Access,
        allowed_hosts=config.server.allowed_hosts,
        keys=keys,
        open_rights=open_rights(config.server.host),
    )


def open_rights(host: str) -> frozenset[Right]:
    """Say what needs no key: reading, for whoever is on this machine anyway."""
    return frozenset({"read", "audit"}) if is_loopback(host) else frozenset()


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
