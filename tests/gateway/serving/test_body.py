"""Bodies are bounded in size, in time and together; inflating one lets others run."""

import asyncio
import time
import zlib
from typing import Any

import pytest
from starlette.types import Message

from gateway.errors import BadRequestError, ClientGoneError, RequestTimeoutError, ShedError
from gateway.serving.body import SLICE_BYTES, STEP_BYTES, inflate, read_body
from gateway.serving.intake import Intake, Space

MIB = 1 << 20


def space() -> Space:
    """Room for one body in a replica with plenty."""
    return Intake("m", max_bytes=128 * MIB).open()


@pytest.mark.parametrize(
    "size", [0, 1, SLICE_BYTES - 1, SLICE_BYTES, STEP_BYTES, 3 * STEP_BYTES + 7]
)
@pytest.mark.parametrize("level", [0, 9])
async def test_what_was_deflated_is_read_back(size: int, level: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)

    deflated = zlib.compress(content[:size], level)

    assert await inflate(deflated, b"deflate", space(), max_bytes=MIB) == content[:size]


@pytest.mark.parametrize("size", [0, SLICE_BYTES, 3 * SLICE_BYTES])
async def test_a_stream_that_is_cut_or_followed_is_refused(size: int) -> None:
    deflated = zlib.compress(bytes(size), 0)
    for broken in (deflated[:-1], deflated[: len(deflated) // 2], deflated + b"x" * SLICE_BYTES):
        with pytest.raises(BadRequestError):
            await inflate(broken, b"deflate", space(), max_bytes=MIB)


async def test_no_step_of_inflating_grows_with_the_body() -> None:
    deflated = zlib.compress(bytes(range(256)) * (32 * MIB // 256), 0)
    pauses_s: list[float] = []

    async def others() -> None:
        while True:
            began_s = time.thread_time()
            await asyncio.sleep(0)
            pauses_s.append(time.thread_time() - began_s)

    turning = asyncio.create_task(others())
    await inflate(deflated, b"deflate", space(), max_bytes=64 * MIB)
    turning.cancel()

    # The last pause joins the parts; the others copy a slice each, not what is left of the body.
    assert sorted(pauses_s)[len(pauses_s) // 2] < 0.001


def chunks(*sizes: int, is_last: bool = True) -> Any:
    """Receive chunks of these sizes, and then nothing any more."""
    told = [{"type": "http.request", "body": bytes(size), "more_body": True} for size in sizes]
    told[-1]["more_body"] = not is_last

    async def receive() -> Any:
        if not told:
            await asyncio.Event().wait()
        return told.pop(0)

    return receive


async def test_a_body_that_does_not_end_in_time_is_refused_and_gives_its_room_back() -> None:
    intake = Intake("m", max_bytes=MIB)
    with pytest.raises(RequestTimeoutError), intake.open() as mine:
        await read_body({}, chunks(100, is_last=False), mine, max_bytes=MIB, limit_s=0.01)
    assert intake.held_bytes == 0


async def test_a_body_that_is_announced_and_never_begins_gives_its_room_back() -> None:
    async def never() -> Message:
        return await asyncio.Future()

    intake = Intake("m", max_bytes=MIB)
    announced = {b"content-length": b"%d" % MIB}
    with pytest.raises(RequestTimeoutError), intake.open() as mine:
        await read_body(announced, never, mine, max_bytes=MIB, limit_s=0.01)
    assert intake.held_bytes == 0


async def test_bodies_together_hold_no_more_than_the_replica_has_room_for() -> None:
    intake = Intake("m", max_bytes=1000)
    with intake.open() as first, intake.open() as second, intake.open() as third:
        await read_body({}, chunks(300, 300), first, max_bytes=MIB)
        announced = {b"content-length": b"500"}
        with pytest.raises(ShedError):  # by what it says, before it is read
            await read_body(announced, chunks(500), second, max_bytes=MIB)
        with pytest.raises(ShedError):  # by what comes
            await read_body({}, chunks(300, 300), third, max_bytes=MIB)
        assert intake.held_bytes <= 1000
    assert intake.held_bytes == 0


async def test_a_body_that_is_alone_is_always_taken_in() -> None:
    intake = Intake("m", max_bytes=10)
    with intake.open() as mine:
        assert len(await read_body({}, chunks(300, 300), mine, max_bytes=MIB)) == 600


async def test_who_leaves_in_the_middle_of_a_body_gives_its_room_back() -> None:
    intake = Intake("m", max_bytes=MIB)
    told = [
        {"type": "http.request", "body": b"abc", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return told.pop(0)

    with pytest.raises(ClientGoneError), intake.open() as mine:
        await read_body({}, receive, mine, max_bytes=MIB)
    assert intake.held_bytes == 0
