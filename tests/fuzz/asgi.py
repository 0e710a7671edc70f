"""Ask an ASGI application directly: no client stands between a broken request and who reads it."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp

HANG_S = 1.0

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Sent:
    """One request, however broken."""

    body: bytes = b""
    headers: Headers = ()
    path: str = "/v2/models/pair/infer"
    method: str = "POST"
    chunk_bytes: int = 1 << 30


@dataclass(frozen=True)
class Reply:
    """What came back, and how long it took."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    took_s: float


async def ask(app: ASGIApp, sent: Sent) -> Reply:
    """Send one request and wait for its answer; the client stays until it has it."""
    chunks = _chunks(sent)
    answer: list[Any] = []
    left = asyncio.Event()

    async def receive() -> Any:
        message = next(chunks, None)
        if message is None:
            await left.wait()
            return {"type": "http.disconnect"}
        return message

    async def send(message: Any) -> None:
        answer.append(message)

    scope = {
        "type": "http",
        "method": sent.method,
        "path": sent.path,
        "raw_path": sent.path.encode("utf-8", "surrogateescape"),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), *sent.headers],
    }
    began_s = time.perf_counter()
    await app(scope, receive, send)
    took_s = time.perf_counter() - began_s
    start, *parts = answer
    return Reply(
        start["status"],
        dict(start["headers"]),
        b"".join(part.get("body", b"") for part in parts),
        took_s,
    )


def _chunks(sent: Sent) -> Iterator[dict[str, Any]]:
    body, step = sent.body, sent.chunk_bytes
    for start in range(0, max(len(body), 1), step):
        more = start + step < len(body)
        yield {"type": "http.request", "body": body[start : start + step], "more_body": more}
