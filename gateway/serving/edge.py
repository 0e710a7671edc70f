"""Runs before Serve sees a request: who may ask at all, and the short way to the model.

Serve wraps every HTTP server it starts in it: the replicas' own and its proxy's.
"""

import re
import time
from collections.abc import Awaitable, Callable, Iterable

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import ForbiddenError, NotReadyError, error_body

HEALTH_PATHS = frozenset({"/-/healthz", "/-/routes"})  # asked by HAProxy, with its own Host header
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
# Serve starts a watcher task per request unless this is set; the ingress watches by itself.
NO_WATCHER = (b"x-request-disconnect-disabled", b"?1")
# Serve lets a client switch the server's time limit off with the second one.
STRIPPED = frozenset({b"x-request-disconnect-disabled", b"x-request-timeout-seconds"})
ARRIVED = "handrail.arrived"  # of a scope: Unix and monotonic ns, where the ingress comes late

StandInFor = Callable[[Scope], Awaitable[ASGIApp | None]]  # None: nobody stands in


class ShortWay:
    """From a replica's HTTP server straight to its ingress, past Serve's per-request bookkeeping.

    Serve spends about 100 us on a request before and after the application: request metadata,
    a second admission, metrics, logs.  The ingress has all of these of its own.  One per process:
    a replica serves one application.
    """

    prefix: str | None = None
    ingress: ASGIApp | None = None

    @classmethod
    def open(cls, prefix: str, ingress: ASGIApp) -> None:
        """Send what comes for ``prefix`` to ``ingress``; called when the replica is ready."""
        cls.prefix, cls.ingress = prefix, ingress


class Edge:
    """Refuses foreign hosts and cross-site requests (DNS rebinding, CVE-2025-62593)."""

    def __init__(
        self,
        app: ASGIApp,
        allowed_hosts: Iterable[str],
        *,
        behind_haproxy: bool = False,
        stand_in_for: StandInFor | None = None,
    ) -> None:
        self._app = app
        self._allowed = frozenset(host.lower().encode() for host in allowed_hosts)
        self._behind_haproxy = behind_haproxy
        self._stand_in_for = stand_in_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] != "http" or scope["path"] in HEALTH_PATHS:
            await self._app(scope, receive, send)
            return
        host, has_origin = b"", False
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"origin":
                has_origin = True
        if has_origin or _without_port(host.lower()) not in self._allowed:
            problem = "requests with an Origin are refused" if has_origin else "unknown Host"
            await _refuse(ForbiddenError(problem), send)
        elif ShortWay.ingress is not None and scope["path"].startswith(ShortWay.prefix):
            await ShortWay.ingress(scope, receive, send)
        elif self._behind_haproxy and ShortWay.ingress is None:
            # Serve's fallback proxy: HAProxy asks it only while no replica of a model is up.
            await self._stand_in(scope, receive, send)
        else:
            kept = [pair for pair in scope["headers"] if _may_pass(*pair)]
            scope["headers"] = [*kept, NO_WATCHER]
            await self._app(scope, receive, send)

    async def _stand_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for a model of which no replica is up, or say so."""
        scope[ARRIVED] = time.time_ns(), time.perf_counter_ns()  # a stand-in may have to be made
        found = None if self._stand_in_for is None else await self._stand_in_for(scope)
        if found is None:
            await _refuse(NotReadyError("no replica answers"), send)
        else:
            await found(scope, receive, send)


def _may_pass(name: bytes, value: bytes) -> bool:
    """Serve decodes the request id as UTF-8 before anybody could answer that it is not."""
    if name == b"x-request-id":
        return known_request_id(value) is not None
    return name not in STRIPPED


def known_request_id(value: bytes) -> str | None:
    """Read the client's name for its request; None if it is empty, too long or unprintable."""
    return value.decode() if _REQUEST_ID.fullmatch(value) else None


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() else host


async def _refuse(error: ForbiddenError | NotReadyError, send: Send) -> None:
    body = orjson.dumps(error_body(error, ""))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if isinstance(error, NotReadyError):
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
