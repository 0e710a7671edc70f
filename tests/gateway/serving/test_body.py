"""Inflating a body is as much work as the body is long, and lets others run."""

import asyncio
import time
import zlib

import pytest

from gateway.errors import BadRequestError
from gateway.serving.body import SLICE_BYTES, STEP_BYTES, inflate

MIB = 1 << 20


@pytest.mark.parametrize(
    "size", [0, 1, SLICE_BYTES - 1, SLICE_BYTES, STEP_BYTES, 3 * STEP_BYTES + 7]
)
@pytest.mark.parametrize("level", [0, 9])
async def test_what_was_deflated_is_read_back(size: int, level: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)

    deflated = zlib.compress(content[:size], level)

    assert await inflate(deflated, b"deflate", max_bytes=MIB) == content[:size]


@pytest.mark.parametrize("size", [0, SLICE_BYTES, 3 * SLICE_BYTES])
async def test_a_stream_that_is_cut_or_followed_is_refused(size: int) -> None:
    deflated = zlib.compress(bytes(size), 0)
    for broken in (deflated[:-1], deflated[: len(deflated) // 2], deflated + b"x" * SLICE_BYTES):
        with pytest.raises(BadRequestError):
            await inflate(broken, b"deflate", max_bytes=MIB)


async def test_no_step_of_inflating_grows_with_the_body() -> None:
    deflated = zlib.compress(bytes(range(256)) * (32 * MIB // 256), 0)
    pauses_s: list[float] = []

    async def others() -> None:
        while True:
            began_s = time.thread_time()
            await asyncio.sleep(0)
            pauses_s.append(time.thread_time() - began_s)

    turning = asyncio.create_task(others())
    await inflate(deflated, b"deflate", max_bytes=64 * MIB)
    turning.cancel()

    # The last pause joins the parts; the others copy a slice each, not what is left of the body.
    assert sorted(pauses_s)[len(pauses_s) // 2] < 0.001
