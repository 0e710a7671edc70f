"""Clients that leave at any point of a request's life leave nothing behind."""

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import orjson
import pytest

from models.bundle import Bundle
from models.signing import SigningKey
from tests.fuzz.asgi import Sent, ask
from tests.fuzz.pair import build_pair

CLIENTS = 2000
AT_ONCE = 64
CHUNK_BYTES = 40
LEAVES = ("before the body", "in the body", "while waiting", "with its task", "never")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Bundle:
    return build_pair(tmp_path_factory.mktemp("pair"), key, budget_ms=60_000)


class Counting:
    """Stands before the model's `predict`: counts rows, is slow, and can be held."""

    def __init__(self, served: Any, call_s: float) -> None:
        self._predict = served.versions.view.live.runtime.predict
        self._call_s = call_s
        self.rows = 0
        self.began = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        served.versions.view.live.runtime.predict = self.predict

    def predict(self, inputs: Any, **options: Any) -> Any:
        self.rows += len(inputs["x"])
        self.began.set()
        self.go_on.wait()
        time.sleep(self._call_s)
        return self._predict(inputs, **options)


def question(value: float) -> bytes:
    x = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [value, 0]}
    s = {"name": "s", "shape": [1, 1], "datatype": "BYTES", "data": ["a"]}
    return orjson.dumps({"inputs": [x, s]})


class Leaver:
    """A client that leaves at one point of its request's life, or stays and reads its answer."""

    def __init__(self, leaves: str, rng: random.Random) -> None:
        self._leaves = leaves
        self._patience_s = rng.choice((0, rng.random() / 1000, rng.random() / 100))
        self._messages = self._life(question(rng.random()))
        self.answer: list[Any] = []

    async def _life(self, body: bytes) -> AsyncIterator[dict[str, Any]]:
        chunks = [body[i : i + CHUNK_BYTES] for i in range(0, len(body), CHUNK_BYTES)]
        stays_for = {"before the body": 0, "in the body": len(chunks) // 2}
        for chunk in chunks[: stays_for.get(self._leaves)]:
            yield {"type": "http.request", "body": chunk, "more_body": chunk is not chunks[-1]}
            await asyncio.sleep(0)
        if self._leaves not in stays_for:
            await asyncio.sleep(self._patience_s if self._leaves == "while waiting" else 60)
        while True:
            yield {"type": "http.disconnect"}

    async def run(self, app: Any) -> None:
        headers = [(b"host", b"localhost")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v2/models/pair/infer",
            "headers": headers,
        }
        asking = asyncio.ensure_future(app(scope, self._receive, self._send))
        if self._leaves == "with its task":
            await asyncio.sleep(self._patience_s)
            asking.cancel()
        await asyncio.wait([asking])
        if not asking.cancelled():
            asking.result()

    async def _receive(self) -> dict[str, Any]:
        return await anext(self._messages)

    async def _send(self, message: Any) -> None:
        self.answer.append(message)

    @property
    def status(self) -> int | None:
        return self.answer[0]["status"] if self.answer else None


async def test_clients_that_leave_at_random_points_leave_nothing_behind(
    serve: Any, pair: Bundle
) -> None:
    rng = random.Random(5)
    served = await serve(pair, inline_below_us=0.0)
    model = Counting(served, call_s=0.001)
    tasks = len(asyncio.all_tasks())
    clients = [Leaver(rng.choice(LEAVES), rng) for _ in range(CLIENTS)]

    seats = asyncio.Semaphore(AT_ONCE)

    async def seated(client: Leaver) -> None:
        async with seats:
            await client.run(served.ingress)

    await asyncio.gather(*map(seated, clients))
    reply = await ask(served.ingress, Sent(question(1)))
    await asyncio.sleep(0.01)  # what was cancelled last takes a turn of the loop to end

    admission = served.admission
    assert reply.status == 200, reply.body
    assert (admission.in_flight, admission.in_flight_rows) == (0, 0)
    assert served.ingress._intake.held_bytes == 0
    assert served.batcher.queued_rows == 0
    assert not served.batcher._queue
    assert len(asyncio.all_tasks()) == tasks
    assert {c.status for c in clients if c._leaves == "never"} == {200}
    assert {d.code for d in served.kept.decisions} == {"", "cancelled"}
    reached = [c for c in clients if "body" not in c._leaves]
    assert model.rows < len(reached)  # some left in time


async def test_who_left_while_waiting_is_not_computed(serve: Any, pair: Bundle) -> None:
    rng = random.Random(6)
    served = await serve(pair, inline_below_us=0.0)
    model = Counting(served, call_s=0.0)
    model.go_on.clear()
    first = asyncio.ensure_future(ask(served.ingress, Sent(question(0))))
    await asyncio.to_thread(model.began.wait)

    leaving = [Leaver(rng.choice(("while waiting", "with its task")), rng) for _ in range(200)]
    staying = [asyncio.ensure_future(ask(served.ingress, Sent(question(i)))) for i in range(5)]
    await asyncio.gather(*(client.run(served.ingress) for client in leaving))
    model.go_on.set()
    replies = await asyncio.gather(first, *staying)

    assert [reply.status for reply in replies] == [200] * 6
    assert model.rows == 6
    answers = [np.float32(orjson.loads(r.body)["outputs"][0]["data"][0]) for r in replies]
    assert answers == [0, 0, 1, 2, 3, 4]
