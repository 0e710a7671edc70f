"""How much of a body is read."""

from collections.abc import Callable

from gateway.api.access import REQUEST_ID, ASGIApp, Message, Receive, Scope, Send, send_error
from gateway.errors import TooLargeError


class BodyLimit:
    """Refuses a body that says it is too large, and stops reading one that turns out to be.

    Args:
        app: What is behind it.
        max_bytes: The limit by path.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: Callable[[str], int]) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a bounded body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._max_bytes(scope["path"])
        if _declared_bytes(scope) > limit:
            await send_error(send, TooLargeError(limit), request_id=scope[REQUEST_ID])
            return
        read = 0

        async def receive_bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise TooLargeError(limit)
            return message

        await self._app(scope, receive_bounded, send)


def _declared_bytes(scope: Scope) -> int:
    """Read Content-Length; what is no number the server has refused, or sends in chunks."""
    declared = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(declared[0]) if declared and declared[0].isdigit() else 0
