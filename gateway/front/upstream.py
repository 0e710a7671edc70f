"""HTTP/1.1 to the data plane on this machine, over connections that stay open.

Every gRPC call pays for it: 65 us of a core here, 235 us with aiohttp's client (200 bytes each
way, uvloop).
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httptools

from gateway.errors import NotReadyError

IDLE_S = 30.0  # HAProxy and Serve's proxy close theirs after 90 s
CONNECT_S = 5.0
JOINED_BYTES_MAX = 64 * 1024  # up to here head and body are copied into one write

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: dict[bytes, bytes]  # names in lower case
    body: bytes


class LostError(Exception):
    """The connection ended before the reply did."""


class Upstream:
    """Asks one server; as many requests at a time as there are callers."""

    def __init__(self, host: str, port: int, *, host_header: str) -> None:
        self._address = (host, port)
        self._host = host_header
        self._idle: deque[_Connection] = deque()

    async def request(self, method: str, path: str, headers: Headers, body: bytes = b"") -> Reply:
        """Send one request and wait for its reply.

        A caller that is cancelled closes the connection, so that the server sees it go.

        Args:
            method: Of HTTP.
            path: Already checked; nothing is escaped here.
            headers: Already checked to be printable ASCII.
            body: Of any size.

        Raises:
            NotReadyError: nobody answers at that address.
        """
        head = self._head(method, path, headers, len(body))
        while True:
            connection, is_new = await self._connection()
            try:
                reply = await connection.ask(head, body)
            except LostError:
                connection.abort()
                # A server may close an idle connection just when it is used again. A decision is
                # a pure function of the request's id, so asking twice is asking once.
                if is_new:
                    raise NotReadyError("the data plane closed the connection") from None
                continue
            except BaseException:  # cancelled, perhaps just when the reply was there
                connection.abort()
                raise
            if connection.is_reusable:
                self._idle.append(connection)
            else:
                connection.abort()
            return reply

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().abort()

    def _head(self, method: str, path: str, headers: Headers, body_bytes: int) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in headers]
        lines += [f"content-length: {body_bytes}", "", ""]
        return "\r\n".join(lines).encode("ascii")

    async def _connection(self) -> tuple["_Connection", bool]:
        """Take the connection that was used last, or make one; say whether it is new."""
        oldest_s = time.monotonic() - IDLE_S
        while self._idle and (self._idle[0].idle_since_s < oldest_s or not self._idle[0].is_open):
            self._idle.popleft().abort()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection, False
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await loop.create_connection(_Connection, *self._address)
        except OSError:  # TimeoutError is one
            raise NotReadyError("the data plane does not answer") from None
        return connection, True


class _Connection(asyncio.Protocol):
    """One request at a time over one socket; the callbacks in the middle are httptools'."""

    def __init__(self) -> None:
        self.is_open = False
        self.is_reusable = False
        self.idle_since_s = 0.0
        self._transport: Any = None
        self._parser: Any = None
        self._reply: asyncio.Future[Reply] | None = None
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []

    async def ask(self, head: bytes, body: bytes) -> Reply:
        """Write one request and read its reply.

        Raises:
            LostError: the connection ended first, or what came is not HTTP.
        """
        if not self.is_open:
            raise LostError
        self.is_reusable = False
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._body = {}, []
        self._reply = asyncio.get_running_loop().create_future()
        if len(body) <= JOINED_BYTES_MAX:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        return await self._reply

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self.is_open = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        if self._reply is None or self._reply.done():
            self.abort()  # nothing was asked: an unasked reply would answer the next question
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()
            self._lose()

    def connection_lost(self, _: Exception | None) -> None:
        """Tell whoever waits."""
        self.is_open = self.is_reusable = False
        self._lose()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one header."""
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Hand the reply to whoever waits."""
        self.is_reusable = self.is_open and self._parser.should_keep_alive()
        self.idle_since_s = time.monotonic()
        if self._reply is not None and not self._reply.done():
            status = self._parser.get_status_code()
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._reply.set_result(Reply(status, self._headers, body))

    def _lose(self) -> None:
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(LostError())
