"""The HTTP server of the replicas: what uvicorn says, in fewer writes."""

import asyncio
from typing import Any

import pytest
import uvicorn
import uvicorn.config
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from gateway.serving.http_protocol import OneWriteProtocol, use_one_write

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


class WritesKept(asyncio.Transport):
    """A connection of which every write is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 9) if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def answered(app: ASGIApp, request: bytes) -> WritesKept:
    config = uvicorn.Config(app, lifespan="off", log_config=None, http=OneWriteProtocol)
    config.load()
    protocol = OneWriteProtocol(config=config, server_state=ServerState(), app_state={})
    transport = WritesKept()
    protocol.connection_made(transport)
    protocol.data_received(request)
    for _ in range(20):
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    return transport


def whole(body: bytes, *, status: int = 200) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def test_head_and_body_of_an_answer_leave_in_one_write() -> None:
    [written] = (await answered(whole(b"yes"), GET)).writes
    assert written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert written.endswith(b"\r\ncontent-length: 3\r\n\r\nyes")


async def test_every_answer_on_a_connection_leaves_in_order() -> None:
    first, second = (await answered(whole(b"yes"), GET + GET)).writes
    assert first.endswith(b"\r\n\r\nyes")
    assert second.endswith(b"\r\n\r\nyes")


async def test_the_answer_to_head_leaves_without_a_body() -> None:
    [written] = (await answered(whole(b"yes"), GET.replace(b"GET", b"HEAD"))).writes
    assert written.endswith(b"\r\ncontent-length: 3\r\n\r\n")


async def test_an_empty_body_still_has_its_head() -> None:
    assert b"".join((await answered(whole(b""), GET)).writes).endswith(b"content-length: 0\r\n\r\n")


async def test_the_head_of_a_stream_does_not_wait_for_its_body() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    [head] = (await answered(app, GET)).writes
    assert head.endswith(b"transfer-encoding: chunked\r\n\r\n")


async def test_a_body_in_parts_is_whole() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ye", "more_body": True})
        await send({"type": "http.response.body", "body": b"s!"})

    first, second = (await answered(app, GET)).writes
    assert first.endswith(b"\r\n\r\nye")
    assert second == b"s!"


async def test_an_application_that_fails_after_its_head_sends_what_uvicorn_would() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        raise RuntimeError

    transport = await answered(app, GET)
    assert b"".join(transport.writes).endswith(b"content-length: 4\r\n\r\n")
    assert transport.is_closed


async def test_what_is_no_http_is_refused() -> None:
    transport = await answered(whole(b"yes"), b"nonsense\r\n\r\n")
    assert b"".join(transport.writes).startswith(b"HTTP/1.1 400 ")
    assert transport.is_closed


async def test_a_server_that_names_no_protocol_speaks_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    protocols: dict[str, Any] = dict(uvicorn.config.HTTP_PROTOCOLS)
    monkeypatch.setattr(uvicorn.config, "HTTP_PROTOCOLS", protocols)
    use_one_write()
    config = uvicorn.Config(whole(b""))
    config.load()
    assert config.http_protocol_class is OneWriteProtocol


async def test_where_a_request_says_it_was_forwarded_from_is_not_believed() -> None:
    clients = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        clients.append(scope["client"])
        await whole(b"")(scope, receive, send)

    await answered(app, GET[:-2] + b"x-forwarded-for: 10.0.0.1\r\n\r\n")
    assert clients == [("127.0.0.1", 9)]
