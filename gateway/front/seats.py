"""How many messages may take their time to come in.

A replica counts the bytes of a body while it comes.  gRPC hands a message over only when all of it
is there, and does not say before how long it will be.  So a message that is not there at once
needs a seat, and there are as many as messages of the longest kind have room: 1 GiB in all by
default, where 1024 calls could have held 64.  Without one a call ends; what came of it until
then is what its connection carries in a fifth of a second.  Those who send at once never wait
for those who do not.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from gateway.errors import BadRequestError, GatewayError, RequestTimeoutError
from gateway.front.calls import Call
from gateway.front.statuses import abort, failure_of

SEATS_MIN = 16
AT_ONCE_S = 0.2  # 1 MB over 50 Mbit/s
READ_S = 10.0  # with a seat; whoever sends slowly keeps it from others


Unary = Callable[[bytes, Any], Awaitable[Any]]  # message, context
OneMessage = Callable[[AsyncIterator[bytes], Any], Awaitable[Any]]


class Seats:
    """Receives messages.  Used from one event loop."""

    def __init__(
        self,
        *,
        max_bytes: int,
        max_message_bytes: int,
        at_once_s: float = AT_ONCE_S,
        limit_s: float = READ_S,
    ) -> None:
        self._seats = max(SEATS_MIN, max_bytes // max_message_bytes)
        self._at_once_s = at_once_s
        self._limit_s = limit_s
        self._taken: set[asyncio.Timeout] = set()

    def unary(self, method: Unary) -> OneMessage:
        """Let a method be called with its one message.

        To a client it is an ordinary call; here it is a stream of one message, so that its
        receiving can be bounded and ended.
        """

        async def serve(messages: AsyncIterator[bytes], context: Any) -> Any:
            try:
                message = await self.receive(messages)
            except GatewayError as error:
                await abort(context, failure_of(error, Call(context).request_id))
            return await method(message, context)

        return serve

    async def receive(self, messages: AsyncIterator[bytes]) -> bytes:
        """Wait for the one message of a call.

        Raises:
            RequestTimeoutError: it did not come at once and there was no seat, or not in time.
            BadRequestError: the call ended without a message.
        """
        limit = asyncio.timeout(None)
        timer = asyncio.get_running_loop().call_later(self._at_once_s, self._sit, limit)
        try:
            async with limit:
                return await anext(messages)
        except TimeoutError:
            allowed_s = self._limit_s if limit in self._taken else self._at_once_s
            raise RequestTimeoutError(allowed_s) from None
        except StopAsyncIteration:
            raise BadRequestError("a call of this method needs a message") from None
        finally:
            timer.cancel()
            self._taken.discard(limit)

    def _sit(self, limit: asyncio.Timeout) -> None:
        """Take a seat for a message that is still coming, or end its call."""
        now_s = asyncio.get_running_loop().time()
        if len(self._taken) < self._seats:
            self._taken.add(limit)
            limit.reschedule(now_s + self._limit_s - self._at_once_s)
        else:
            limit.reschedule(now_s)
