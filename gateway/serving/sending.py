"""An answer onto the wire: status, headers, body."""

import orjson
from starlette.types import Send

from gateway.errors import (
    BreakerOpenError,
    GatewayError,
    MethodNotAllowedError,
    RequestTimeoutError,
    ShedError,
    SuspectError,
    error_body,
)

JSON = b"application/json"  # exactly: KServe's client compares for equality


async def send_error(error: GatewayError, request_id: str, send: Send) -> None:
    """Send a failure in the error contract, with the headers that its status asks for."""
    extra: tuple[tuple[bytes, bytes], ...] = ()
    if isinstance(error, ShedError | BreakerOpenError | SuspectError):
        extra = ((b"retry-after", b"%d" % error.retry_after_s),)
    if isinstance(error, RequestTimeoutError):
        extra = ((b"connection", b"close"),)  # the rest of the body may still come
    if isinstance(error, MethodNotAllowedError):
        extra = ((b"allow", error.allowed.encode()),)
    await send_body(error.status, orjson.dumps(error_body(error, request_id)), send, extra=extra)


async def send_body(
    status: int,
    body: bytes,
    send: Send,
    *,
    content_type: bytes = JSON,
    extra: tuple[tuple[bytes, bytes], ...] = (),
) -> None:
    """Send a whole answer; ``extra`` headers come after its type and length."""
    headers = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        *extra,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
