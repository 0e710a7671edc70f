"""Serve's HTTP server with two changes.

Head and body of an answer leave in one write.  uvicorn writes the head and then the body, and
uvloop sends each at once: for a few hundred bytes two system calls, and HAProxy is woken twice.

Whence a request was forwarded is not read: nobody here asks for it.
"""

import asyncio
import re
from typing import Any

import uvicorn.config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# An answer whose body follows at once.  That of a stream may not: its head goes out alone.
_HEAD_OF_WHOLE_ANSWER = re.compile(rb"HTTP/1\.1 .*\r\ncontent-length: ", re.DOTALL)


class OneWriteProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, config: uvicorn.config.Config, *args: Any, **fields: Any) -> None:
        """Take the application out of what uvicorn wraps it in."""
        super().__init__(config, *args, **fields)
        if isinstance(self.app, ProxyHeadersMiddleware):
            self.app = self.app.app

    def connection_made(  # type: ignore[override]  # as uvicorn itself narrows it
        self, transport: asyncio.Transport
    ) -> None:
        """Put a transport in between that joins head and body."""
        self._joined = _JoiningTransport(transport)
        super().connection_made(self._joined)  # type: ignore[arg-type]  # all that uvicorn calls

    def on_response_complete(self) -> None:
        """Send a head that no body followed, as the answer to HEAD has it."""
        self._joined.flush()
        super().on_response_complete()


class _JoiningTransport:
    """Holds the head of an answer back until its body, or the end, comes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """Send ``data`` behind the head that waits, or let it wait if it is one."""
        if self._head:
            data, self._head = self._head + data, b""
        elif _HEAD_OF_WHOLE_ANSWER.match(data):
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send the head that waits."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        """Close the connection once everything is sent."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def use_one_write() -> None:
    """Let every server that uvicorn starts in this process speak HTTP like this.

    Serve makes its servers itself and names no protocol: this table is where uvicorn looks.
    """
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{OneWriteProtocol.__name__}"
