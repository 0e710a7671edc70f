"""Open-loop load: requests leave on a schedule, whether or not the last ones were answered.

A slow server cannot slow the schedule down, so its queue shows (closed loops hide it: Tene,
"How NOT to measure latency"); latency counts from the scheduled moment.  Raw HTTP/1.1 over
kept-alive connections, so that the generator costs little beside the server.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np


@dataclass
class Outcome:
    """One answer, or its absence."""

    due_s: float  # when it should have left, from the start of the run
    took_s: float  # from then to the last byte
    status: int  # 0: the connection broke, or nothing came
    body: bytes = field(default=b"", repr=False)
    sent_late_s: float = 0.0  # how far behind its schedule the generator was


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.is_broken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0 or self._answer is None or self._answer.done():
            return
        head = bytes(self._received[:head_end]).lower()
        body = _read_body(head, bytes(self._received[head_end + 4 :]))
        if body is not None:
            self._received.clear()
            self.is_broken = b"connection: close" in head
            self._answer.set_result((int(head[9:12]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_broken = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((0, b""))

    def ask(self, request: bytes) -> "asyncio.Future[tuple[int, bytes]]":
        assert self.transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer


def _read_body(head: bytes, received: bytes) -> bytes | None:
    """Return the body, or None as long as it is not all there."""
    if b"transfer-encoding: chunked" in head:
        if not received.endswith(b"\r\n0\r\n\r\n") and received != b"0\r\n\r\n":
            return None
        chunks = []
        while (line := received.partition(b"\r\n"))[0] != b"0":
            size = int(line[0], 16)
            chunks.append(line[2][:size])
            received = line[2][size + 2 :]
        return b"".join(chunks)
    at = head.find(b"content-length:")
    length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    return received if len(received) >= length else None


def http_request(url: str, body: bytes, **headers: str) -> bytes:
    """Write a POST once, to send it many times."""
    parts = urlsplit(url)
    told = {"Host": parts.netloc, "Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    head = f"POST {parts.path} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def run_open_loop(
    url: str,
    request_of: Callable[[int], bytes],
    *,
    arrivals_s: np.ndarray,
    timeout_s: float = 10.0,
    keep_bodies: bool = False,
) -> list[Outcome]:
    """Send one request per entry of ``arrivals_s`` (seconds from now, ascending).

    Args:
        url: Where to connect; the path is inside the requests.
        request_of: The bytes of the i-th request.
        arrivals_s: Shape (n,).
        timeout_s: After this long an answer counts as absent.
        keep_bodies: Keep the bodies of the answers.
    """
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    idle: list[_Connection] = []
    outcomes: list[Outcome] = []
    began_s = time.perf_counter()

    async def ask(i: int, due_s: float) -> None:
        status, body = 0, b""
        sent_late_s = time.perf_counter() - began_s - due_s
        try:
            async with asyncio.timeout(timeout_s):
                connection = idle.pop() if idle else None
                while connection is not None and connection.is_broken:
                    connection = idle.pop() if idle else None
                if connection is None:
                    _, connection = await loop.create_connection(
                        _Connection, parts.hostname, parts.port
                    )
                status, body = await connection.ask(request_of(i))
                if not connection.is_broken:
                    idle.append(connection)
        except (TimeoutError, OSError):
            pass  # stays absent; the connection is not used again
        took_s = time.perf_counter() - began_s - due_s
        kept = body if keep_bodies else b""
        outcomes.append(Outcome(due_s, took_s, status, kept, max(0.0, sent_late_s)))

    tasks = set()
    for i, due_s in enumerate(arrivals_s.tolist()):
        wait_s = began_s + due_s - time.perf_counter()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        elif i % 64 == 0:
            await asyncio.sleep(0)  # behind schedule: let answers in all the same
        task = loop.create_task(ask(i, due_s))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    for connection in idle:
        assert connection.transport is not None
        connection.transport.close()
    return sorted(outcomes, key=lambda outcome: outcome.due_s)


def poisson_arrivals(rate_per_s: float, duration_s: float, rng: np.random.Generator) -> np.ndarray:
    """Draw arrival times of a Poisson process, ascending, shape (n,)."""
    count = rng.poisson(rate_per_s * duration_s)
    return np.sort(rng.uniform(0, duration_s, count))
