"""Who may call what: one ASGI middleware in front of the API, and of a model's replica.

It decides on ``scope["path"]`` alone, which is what the router matches; a URL put together
from headers can say something else (CVE-2026-48710).
"""

import json
import re
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, MutableMapping
from typing import Any

from gateway.errors import (
    ForbiddenError,
    GatewayError,
    MethodNotAllowedError,
    ShedError,
    UnauthenticatedError,
    error_body,
)
from gateway.registry.keys import ApiKeys, Caller, Right

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

CALLER = "handrail.caller"  # in the scope of an admitted request; None: nobody needed a key
REQUEST_ID = "handrail.request_id"
MODELS_PATH = "/api/v1/models"  # where bundles are uploaded

_HOST = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::[0-9]{1,5})?")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MANAGEMENT = "/api/"
_REPOSITORY = "/v2/repository/models"  # loads and unloads; the index beside it only tells


class Access:
    """Admits a request, or answers why not.

    Args:
        app: What is behind it.
        allowed_hosts: Host headers that are answered, without port.
        keys: Who holds which key.
        open_rights: What needs no key.
        right_for: The right that a method and a path need; None: anybody may.
    """

    def __init__(
        self,
        app: ASGIApp,
        allowed_hosts: Iterable[str],
        *,
        keys: ApiKeys,
        open_rights: Collection[Right] = (),
        right_for: Callable[[str, str], Right | None] | None = None,
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in allowed_hosts)
        self._keys = keys
        self._open = frozenset(open_rights)
        self._right_for = right_for or required_right

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is admitted; lifespan messages always."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a browser can open a websocket to any host
            await send({"type": "websocket.close", "code": 1008})
            return
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        scope[REQUEST_ID] = _request_id(headers)
        try:
            self._check_origin(headers)
            scope[CALLER] = self._authorise(scope, headers)
        except GatewayError as error:
            await send_error(send, error, request_id=scope[REQUEST_ID])
            return
        await self._app(scope, receive, send)

    def _check_origin(self, headers: Mapping[bytes, list[bytes]]) -> None:
        """Refuse what a browser sends on behalf of a page: it is how DNS rebinding gets in."""
        if b"origin" in headers:
            raise ForbiddenError("requests from web pages (with an Origin header) are refused")
        hosts = headers.get(b"host", [])  # absent only from probes: HTTP/1.1 servers insist on it
        if len(hosts) > 1 or any(_host_name(host) not in self._hosts for host in hosts):
            raise ForbiddenError("this Host is not in server.allowed_hosts")

    def _authorise(self, scope: Scope, headers: Mapping[bytes, list[bytes]]) -> Caller | None:
        caller = self._caller(headers.get(b"authorization", []))
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        right = self._right_for(scope["method"], path)
        if right is None or right in self._open:
            return caller
        if caller is None:
            raise UnauthenticatedError
        if not caller.may(right):
            raise ForbiddenError(f"a key with the role {caller.role!r} may not {right}")
        return caller

    def _caller(self, authorizations: list[bytes]) -> Caller | None:
        """Find the caller; None if no key was sent.  A key that nobody holds is never ignored."""
        if not authorizations:
            return None
        scheme, _, key = authorizations[0].decode("latin-1").partition(" ")
        caller = self._keys.verify(key.strip()) if scheme.lower() == "bearer" else None
        if caller is None or len(authorizations) > 1:
            raise UnauthenticatedError
        return caller


def caller_of(scope: Scope, right: Right) -> Caller:
    """Find whoever asks; a route that changes something calls this, whatever let the request in.

    Raises:
        UnauthenticatedError: nobody in particular asks.
        ForbiddenError: the caller's role lacks the right.
    """
    caller: Caller | None = scope.get(CALLER)
    if caller is None:
        raise UnauthenticatedError
    if not caller.may(right):
        raise ForbiddenError(f"a key with the role {caller.role!r} may not {right}")
    return caller


def required_right(method: str, path: str) -> Right | None:
    """Name the right that a route of the root application needs; what is not listed needs more.

    Everything under ``/api/`` needs one, and what changes who answers; the protocol's own
    metadata and health need none.
    """
    if path.startswith(_REPOSITORY):
        return "operate"
    if not path.startswith(_MANAGEMENT):
        return None
    if method in ("GET", "HEAD"):
        return "audit" if path.endswith("/audit") else "read"
    return "register" if path == MODELS_PATH else "operate"


async def send_error(send: Send, error: GatewayError, *, request_id: str) -> None:
    """Answer with the error contract."""
    headers = [(b"content-type", b"application/json")]
    headers += [(name.encode(), value.encode()) for name, value in extra_headers(error)]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    body = json.dumps(error_body(error, request_id)).encode()
    await send({"type": "http.response.body", "body": body})


def extra_headers(error: GatewayError) -> list[tuple[str, str]]:
    """List the headers that the status of an error asks for (RFC 9110)."""
    if isinstance(error, UnauthenticatedError):
        return [("www-authenticate", "Bearer")]
    if isinstance(error, ShedError):
        return [("retry-after", str(error.retry_after_s))]
    if isinstance(error, MethodNotAllowedError):
        return [("allow", error.allowed)]
    return []


def _host_name(host: bytes) -> str | None:
    found = _HOST.fullmatch(host.decode("latin-1").lower())
    return found[1] if found else None


def _request_id(headers: Mapping[bytes, list[bytes]]) -> str:
    given = headers.get(b"x-request-id", [b""])[0].decode("latin-1")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
