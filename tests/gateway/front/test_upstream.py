"""Requests over connections that stay open, against servers that end them in every way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from gateway.errors import NotReadyError
from gateway.front.upstream import JOINED_BYTES_MAX, Upstream, _Connection

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Kind: a\r\n\r\nok"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[Upstream]:
    """Serve every connection with ``serve``, which may stop whenever the client does."""
    under_way: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    upstream = Upstream(*server.sockets[0].getsockname()[:2], host_header="localhost")
    async with server:
        yield upstream
        upstream.close()
        await asyncio.gather(*under_way)


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    [length] = [line for line in head.split(b"\r\n") if line.startswith(b"content-length")]
    return head, await reader.readexactly(int(length.split(b":")[1]))


@pytest.mark.parametrize("size", [0, 10, JOINED_BYTES_MAX + 1])
async def test_requests_that_follow_one_another_share_a_connection(size: int) -> None:
    seen: list[tuple[bytes, bytes]] = []
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for _ in range(3):
            seen.append(await read_request(reader))
            writer.write(OK)

    async with listening(serve) as upstream:
        for _ in range(3):
            reply = await upstream.request("POST", "/x", [("a", "b")], b"y" * size)

    assert (reply.status, reply.body, reply.headers[b"x-kind"]) == (200, b"ok", b"a")
    assert connections == 1
    assert {body for _, body in seen} == {b"y" * size}
    assert seen[0][0].startswith(b"POST /x HTTP/1.1\r\nhost: localhost\r\na: b\r\n")


async def test_a_connection_that_was_closed_while_idle_is_replaced() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)
        if connections > 1:  # the first promised to stay, and goes as the next request comes
            writer.write(OK)

    async with listening(serve) as upstream:
        for _ in range(3):
            assert (await upstream.request("GET", "/", ())).body == b"ok"

    assert connections == 2


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-le", b"no HTTP\r\n\r\n", OK[:-1]]
)
async def test_a_new_connection_that_gives_no_reply_is_not_ready(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)

    async with listening(serve) as upstream:
        with pytest.raises(NotReadyError):
            await upstream.request("GET", "/", ())


async def test_an_address_where_nobody_listens_is_not_ready() -> None:
    async with listening(lambda *_: asyncio.sleep(0)) as upstream:
        pass
    with pytest.raises(NotReadyError):
        await upstream.request("GET", "/", ())


async def test_a_reply_in_chunks_and_one_that_closes_are_read() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"
    closing = OK.replace(b"X-Kind: a", b"connection: close")
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for answer in (chunked, closing):
            await read_request(reader)
            writer.write(answer)
        await reader.read()

    async with listening(serve) as upstream:
        for _ in range(4):
            assert (await upstream.request("GET", "/", ())).body == b"ok"

    assert connections == 2


async def test_a_caller_that_is_cancelled_closes_the_connection() -> None:
    came, gone = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        came.set()
        with suppress(ConnectionError):
            await reader.read()
        gone.set()

    async with listening(serve) as upstream:
        asked = asyncio.create_task(upstream.request("GET", "/", ()))
        await came.wait()
        asked.cancel()
        await asyncio.wait_for(gone.wait(), 5)

    assert asked.cancelled()


async def test_a_reply_that_nobody_asked_for_answers_no_other_question() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(OK.replace(b"ok", b"no"))
        await reader.read()

    async with listening(serve) as upstream:
        await upstream.request("GET", "/", ())
        await asyncio.sleep(0.1)
        reply = await upstream.request("GET", "/", ())

    assert reply.body == b"ok"


async def test_many_at_a_time_get_their_own_replies() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await read_request(reader)
            await asyncio.sleep(len(body) % 7 / 1000)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))

    async with listening(serve) as upstream:
        bodies = [b"x" * n for n in range(200)]
        replies = await asyncio.gather(*(upstream.request("POST", "/", (), b) for b in bodies))

    assert [reply.body for reply in replies] == bodies


async def test_a_caller_that_leaves_just_as_its_reply_comes_leaves_no_connection_open() -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        with suppress(ConnectionError):
            await reader.read()
        ended.set()

    async with listening(serve) as upstream:
        caller = asyncio.create_task(upstream.request("GET", "/", ()))
        made, original = [], _Connection.on_message_complete

        def leave(connection: _Connection) -> None:
            original(connection)
            made.append(connection)
            caller.cancel()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_Connection, "on_message_complete", leave)
            with pytest.raises(asyncio.CancelledError):
                await caller
        await asyncio.wait_for(ended.wait(), 5)

    assert [one.is_open for one in made] == [False]
