"""Who sends at once is let in; of the others, a few, and each for a while."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.errors import BadRequestError, RequestTimeoutError
from gateway.front.seats import SEATS_MIN, Seats

MIB = 1024 * 1024
AT_ONCE_S = 0.02


class Sender:
    """Sends its message when told to."""

    def __init__(self) -> None:
        self.may_send = asyncio.Event()

    async def messages(self) -> AsyncIterator[bytes]:
        await self.may_send.wait()
        yield b"m"


async def come_slowly(seats: Seats, count: int) -> tuple[list[Sender], list[asyncio.Task[bytes]]]:
    """Let so many calls begin, and wait until it is said which of them may take their time."""
    senders = [Sender() for _ in range(count)]
    received = [asyncio.create_task(seats.receive(one.messages())) for one in senders]
    await asyncio.sleep(5 * AT_ONCE_S)
    return senders, received


async def test_no_more_messages_take_their_time_than_there_is_room_for() -> None:
    seats = Seats(max_bytes=20 * MIB, max_message_bytes=MIB, at_once_s=AT_ONCE_S)
    senders, received = await come_slowly(seats, 30)

    assert [call.done() for call in received] == [False] * 20 + [True] * 10
    for one in senders:
        one.may_send.set()
    ended = await asyncio.gather(*received, return_exceptions=True)

    assert ended[:20] == [b"m"] * 20
    assert all(isinstance(error, RequestTimeoutError) for error in ended[20:])


async def test_where_every_seat_is_taken_a_message_that_is_there_comes_in() -> None:
    seats = Seats(max_bytes=MIB, max_message_bytes=64 * MIB, at_once_s=AT_ONCE_S)
    _, received = await come_slowly(seats, SEATS_MIN)
    quick = Sender()
    quick.may_send.set()

    assert await asyncio.wait_for(seats.receive(quick.messages()), AT_ONCE_S) == b"m"
    for call in received:
        call.cancel()


async def test_a_message_that_does_not_come_gives_its_seat_back() -> None:
    seats = Seats(max_bytes=0, max_message_bytes=MIB, at_once_s=AT_ONCE_S, limit_s=10 * AT_ONCE_S)
    _, first = await come_slowly(seats, SEATS_MIN)
    ended = await asyncio.gather(*first, return_exceptions=True)
    assert [str(error) for error in ended] == ["the body did not come within 0.2 s"] * SEATS_MIN

    [late], [received] = await come_slowly(seats, 1)
    late.may_send.set()

    assert await received == b"m"


async def test_a_client_that_leaves_gives_its_seat_back() -> None:
    seats = Seats(max_bytes=0, max_message_bytes=MIB, at_once_s=AT_ONCE_S)
    _, gone = await come_slowly(seats, SEATS_MIN)
    for call in gone:
        call.cancel()
    senders, received = await come_slowly(seats, SEATS_MIN)
    for one in senders:
        one.may_send.set()

    assert await asyncio.gather(*received) == [b"m"] * SEATS_MIN


async def test_a_call_without_a_message_is_the_clients_mistake() -> None:
    async def nothing() -> AsyncIterator[bytes]:
        for message in ():
            yield message

    with pytest.raises(BadRequestError):
        await Seats(max_bytes=MIB, max_message_bytes=MIB).receive(nothing())
