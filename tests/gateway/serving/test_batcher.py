"""Batches form by deadline, and what nobody waits for any more is not computed."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gateway.errors import ClientGoneError
from gateway.serving.batcher import Batcher
from gateway.serving.item import Item, Judged
from gateway.serving.queue import INLINE_ROWS
from models.bundle import Bundle
from models.signing import SigningKey
from tests.gateway.serving.poison import build_lookup

MS = 1_000_000


@pytest.fixture(scope="module")
def lookup(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Bundle:
    return build_lookup(tmp_path_factory.mktemp("lookup"), key, version="1")


class Counting:
    """A model that costs a fixed time per call plus some per row, and remembers its batches."""

    def __init__(self, runtime: Any, *, call_s: float, row_s: float = 0.0) -> None:
        self._runtime = runtime
        self._call_s = call_s
        self._row_s = row_s
        self.batches: list[int] = []

    def predict(self, inputs: Any, *, deadline_ns: int | None = None) -> Any:
        rows = len(inputs["place"])
        self.batches.append(rows)
        time.sleep(self._call_s + self._row_s * rows)
        return self._runtime.predict(inputs)


class Bench:
    """A batcher, and a version whose model's pace is known to its cost profile."""

    def __init__(self, served: Any, *, call_ms: float, row_ms: float = 0.0) -> None:
        live = served.versions.view.live
        self.runtime = Counting(live.runtime, call_s=call_ms / 1e3, row_s=row_ms / 1e3)
        self.version = replace(live, runtime=self.runtime, model_ns=1e12)
        for rows in (1, 2, 4, 8, 16, 32):
            for _ in range(64):
                self.version.cost.model.observe(rows, int((call_ms + row_ms * rows) * MS))
        self.table = served.versions.view.table
        self.batcher: Batcher = served.batcher

    def submit(self, *, budget_ms: float, gone: Any = None, **fields: Any) -> Any:
        item = Item("a", {"place": np.ones((1, 1), np.float32)}, 1, **fields)
        deadline_ns = time.perf_counter_ns() + int(budget_ms * MS)
        return asyncio.ensure_future(
            self.batcher.submit(self.version, self.table, item, deadline_ns, gone=gone)
        )


async def test_a_batch_grows_no_further_than_its_tightest_deadline_allows(
    serve: Any, lookup: Bundle
) -> None:
    bench = Bench(await serve(lookup), call_ms=5, row_ms=5)
    busy = bench.submit(budget_ms=1000)
    await asyncio.sleep(0.001)  # it is on the thread; the rest waits for it
    tight = [bench.submit(budget_ms=70) for _ in range(4)]
    loose = [bench.submit(budget_ms=2000) for _ in range(12)]

    answers = await asyncio.gather(busy, *tight, *loose)

    assert all(isinstance(answer, Judged) for answer in answers)
    # All 16 together would take 85 ms.
    assert bench.runtime.batches[0] == 1
    assert 4 <= bench.runtime.batches[1] <= 8
    assert sum(bench.runtime.batches) == 17


async def test_a_client_that_left_is_dropped_before_the_model_runs(
    serve: Any, lookup: Bundle
) -> None:
    bench = Bench(await serve(lookup), call_ms=50)
    left = asyncio.Event()

    async def gone() -> None:
        await left.wait()

    busy = bench.submit(budget_ms=1000)
    await asyncio.sleep(0.005)
    waiting = bench.submit(budget_ms=1000, gone=gone)
    await asyncio.sleep(0.005)
    left.set()

    with pytest.raises(ClientGoneError):
        await waiting
    await busy
    assert await bench.submit(budget_ms=1000) is not None
    assert bench.runtime.batches == [1, 1]
    assert bench.batcher.queued_rows == 0


async def test_cancelling_at_any_moment_leaves_nothing_behind(serve: Any, lookup: Bundle) -> None:
    bench = Bench(await serve(lookup), call_ms=2)
    rng = np.random.default_rng(0)
    forever = asyncio.Event()

    async def gone() -> None:
        await forever.wait()

    before = len(asyncio.all_tasks())
    for _ in range(20):
        waiting = [bench.submit(budget_ms=500, gone=gone) for _ in range(20)]
        await asyncio.sleep(float(rng.uniform(0, 0.006)))
        for task in rng.permutation(np.array(waiting, dtype=object))[:15]:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    assert await bench.submit(budget_ms=500) is not None
    await asyncio.sleep(0)
    assert bench.batcher.queued_rows == 0
    assert len(asyncio.all_tasks()) == before


async def test_a_suspect_rides_alone(serve: Any, lookup: Bundle) -> None:
    bench = Bench(await serve(lookup), call_ms=5)
    busy = bench.submit(budget_ms=1000)
    await asyncio.sleep(0.001)
    others = [bench.submit(budget_ms=1000, is_alone=i == 3) for i in range(6)]

    await asyncio.gather(busy, *others)

    assert bench.runtime.batches == [1, 3, 1, 2]


async def test_a_batch_that_runs_over_is_seen_from_outside(serve: Any, lookup: Bundle) -> None:
    bench = Bench(await serve(lookup), call_ms=40)

    assert bench.batcher.running() is None
    busy = bench.submit(budget_ms=1000)
    await asyncio.sleep(0.02)
    running = bench.batcher.running()
    assert running is not None
    assert 10 * MS < running[1] < 40 * MS
    assert bench.batcher.predicted_wait_ns(bench.version) < 35 * MS
    await busy
    assert bench.batcher.running() is None


async def test_who_has_no_timer_is_never_answered_on_the_thread(serve: Any, lookup: Bundle) -> None:
    bench = Bench(await serve(lookup), call_ms=1)
    bench.version = replace(bench.version, model_ns=0)  # small batches run on the loop

    def submit(rows: int) -> Any:
        item = Item("a", {"place": np.ones((rows, 1), np.float32)}, rows)
        deadline_ns = time.perf_counter_ns() + 1000 * MS
        return asyncio.ensure_future(
            bench.batcher.submit(bench.version, bench.table, item, deadline_ns)
        )

    answers = await asyncio.gather(submit(100), submit(100), submit(INLINE_ROWS + 1), submit(1))

    assert all(isinstance(answer, Judged) for answer in answers)
    assert bench.runtime.batches == [100, 100, INLINE_ROWS + 1, 1]
