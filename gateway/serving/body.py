"""The body of a request: read whole, plain or compressed, and never more of it than the limit.

Source: RFC 9110, section 8.4.1; ``deflate`` is the zlib format, as Triton's clients send it.
"""

import asyncio
import zlib
from collections.abc import Mapping

from starlette.types import Message, Receive

from gateway.errors import (
    BadRequestError,
    ClientGoneError,
    RequestTimeoutError,
    TooLargeError,
)
from gateway.serving.intake import Space

READ_S = 30.0  # a slow link's 64 MiB may be cut off; who sends a byte a second must be
CHUNKS_MAX = 65_536  # Triton's limit; a chunk per byte costs more than its bytes
DIGITS_MAX = 19  # of a length; Python refuses to read thousands of them
WINDOW_BITS = {b"gzip": 31, b"deflate": 15}  # of zlib: which of its two headers is expected
STEP_BYTES = 1 << 18  # inflated without letting other requests run: about half a millisecond
SLICE_BYTES = 1 << 16  # fed to zlib at a time: it copies what it has not read at every step
# Zeros shrink a thousandfold, and a small tensor of zeros is nothing unusual; beyond a MiB such a
# body is made to cost more here than there.
RATIO_MAX, RATIO_FROM_BYTES = 100, 1 << 20


async def read_body(
    headers: Mapping[bytes, bytes],
    receive: Receive,
    space: Space,
    *,
    max_bytes: int,
    limit_s: float = READ_S,
) -> bytes:
    """Read the body and undo its content encoding.

    Args:
        headers: Of the request, names in lower case.
        receive: Of ASGI.
        space: Grows with the body, before any of it is read where its length is announced.
        max_bytes: Limit of what comes over the wire, and of what it is inflated to.
        limit_s: How long the client may take to send it.

    Raises:
        TooLargeError: one of the two is over the limit.
        BadRequestError: a length that is none, too many chunks, or an encoding that is unknown
            or broken.
        RequestTimeoutError: it did not come in time.
        ShedError: the bodies of all requests hold too much.
        ClientGoneError: the client closed the connection before all of it came.
    """
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding != b"identity" and encoding not in WINDOW_BITS:
        raise _bad_encoding("content-encoding must be gzip, deflate or identity")
    space.grow_to(_announced(headers.get(b"content-length", b"0"), max_bytes))
    try:
        async with asyncio.timeout(limit_s):
            body = await _read(receive, space, max_bytes)
    except TimeoutError:
        raise RequestTimeoutError(limit_s) from None
    if encoding == b"identity":
        return body
    return await inflate(body, encoding, space, max_bytes=max_bytes)


def _announced(length: bytes, max_bytes: int) -> int:
    """Read how long a body says it is; refuse it by that, before any of it is read."""
    if not length.isdigit():
        problem = "content-length must be a non-negative integer"
        raise BadRequestError(problem, code="bad_content_length")
    if len(length) > DIGITS_MAX or int(length) > max_bytes:
        raise TooLargeError(max_bytes)
    return int(length)


async def _read(receive: Receive, space: Space, max_bytes: int) -> bytes:
    message = await receive()
    chunks = [_chunk(message, space, 0, max_bytes)]
    size = len(chunks[0])
    while message.get("more_body", False):
        message = await receive()
        chunks.append(_chunk(message, space, size, max_bytes))
        size += len(chunks[-1])
        if len(chunks) > CHUNKS_MAX:
            problem = f"the body comes in more than {CHUNKS_MAX} chunks"
            raise BadRequestError(problem, code="too_many_chunks")
    return b"".join(chunks)


def _chunk(message: Message, space: Space, before: int, max_bytes: int) -> bytes:
    """Take one chunk of a body, of which ``before`` bytes came before."""
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    chunk = bytes(message.get("body", b""))
    if before + len(chunk) > max_bytes:
        raise TooLargeError(max_bytes)
    space.grow_to(before + len(chunk))
    return chunk


async def inflate(body: bytes, encoding: bytes, space: Space, *, max_bytes: int) -> bytes:
    """Undo one layer of gzip or deflate, step by step, so that no other request waits for it.

    Raises:
        ShedError: the bodies of all requests hold too much.
        TooLargeError: it inflates to more than ``max_bytes``, or is a decompression bomb.
        BadRequestError: it is broken, cut off, or something follows it.
    """
    inflater = zlib.decompressobj(WINDOW_BITS[encoding])
    limit = min(max_bytes, max(RATIO_FROM_BYTES, RATIO_MAX * len(body)))
    parts: list[bytes] = []
    size = start = 0
    view = memoryview(body)
    rest: bytes | memoryview = b""  # of the slice that is being read; zlib copies it at every step
    while not inflater.eof:
        if not rest:
            rest, start = view[start : start + SLICE_BYTES], start + SLICE_BYTES
        is_last = start >= len(body)
        try:
            part = inflater.decompress(rest, STEP_BYTES)
        except zlib.error:
            raise _bad_encoding(f"the body is not valid {encoding.decode()}") from None
        rest = inflater.unconsumed_tail
        if not part and not rest and is_last and not inflater.eof:
            raise _bad_encoding(f"the body is cut off in the middle of its {encoding.decode()}")
        size += len(part)
        if size > limit:
            raise TooLargeError(limit)
        space.grow_to(len(body) + size)
        parts.append(part)
        await asyncio.sleep(0)
    if inflater.unused_data or start < len(body):
        raise _bad_encoding(f"something follows the {encoding.decode()} stream")
    return b"".join(parts)


def _bad_encoding(problem: str) -> BadRequestError:
    return BadRequestError(problem, code="bad_content_encoding")
