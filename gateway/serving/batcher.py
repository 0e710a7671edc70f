"""Zero-wait batching: whatever arrived in this turn of the event loop goes together.

No timer.  A tiny model runs on the loop itself, because a thread hop costs more
than the model; any other runs on the one inference thread, and what arrives while
it is busy makes the next batch.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from gateway.registry.routing import RoutingTable
from gateway.serving.microbatch import Item, Judged, Microbatch, Stamps
from gateway.serving.versions import LoadedVersion

NS_PER_US = 1_000
INLINE_ROWS = 128  # more rows keep the event loop for milliseconds, however quick the model


@dataclass(frozen=True, slots=True)
class _Waiting:
    version: LoadedVersion
    table: RoutingTable
    item: Item
    deadline_ns: int
    answer: asyncio.Future[Judged | None]


class Batcher:
    """The queue in front of one device.  Every method runs on the event loop."""

    def __init__(
        self,
        executor: Executor,
        *,
        max_rows: int,
        inline_below_us: float,
        exploration_closed: Callable[[], str | None],
        now_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._executor = executor  # of exactly one thread
        self._max_rows = max_rows
        self._inline_below_ns = inline_below_us * NS_PER_US
        self._exploration_closed = exploration_closed
        self._now_ns = now_ns
        self._waiting: deque[_Waiting] = deque()
        self._is_busy = False  # a flush is scheduled, or the thread is at work
        self._is_thread_busy = False
        self.queued_rows = 0

    def predicted_wait_ns(self, version: LoadedVersion) -> float:
        """Predict how long a new request for ``version`` waits before its batch begins."""
        full, rest = divmod(self.queued_rows, self._max_rows)
        cost = version.cost
        ahead = full * cost.estimate_ns(self._max_rows)
        return ahead + (cost.estimate_ns(rest) if rest else 0.0)

    async def submit(
        self, version: LoadedVersion, table: RoutingTable, item: Item, deadline_ns: int
    ) -> Judged | None:
        """Wait for the answer; None when the deadline came first, or was sure to."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Judged | None] = loop.create_future()
        self._waiting.append(_Waiting(version, table, item, deadline_ns, answer))
        self.queued_rows += item.rows
        if not self._is_busy:
            self._is_busy = True
            loop.call_soon(self._flush)
        if self._is_thread_busy or not self._is_inline(version, item.rows):
            left_s = (deadline_ns - self._now_ns()) / 1e9
            timer = loop.call_later(max(left_s, 0.0), _give_up, answer)
            answer.add_done_callback(lambda _: timer.cancel())
        return await answer

    def _is_inline(self, version: LoadedVersion, rows: int) -> bool:
        """Whether a batch is over so soon that the event loop may wait for it."""
        return version.model_ns < self._inline_below_ns and rows <= INLINE_ROWS

    def _flush(self) -> None:
        """Form the next batch and run it."""
        batch = self._next_batch()
        if not batch:
            self._is_busy = bool(self._waiting)
            if self._is_busy:
                asyncio.get_running_loop().call_soon(self._flush)
            return
        version, table = batch[0].version, batch[0].table
        microbatch = Microbatch(version, [waiting.item for waiting in batch], table)
        closed = self._exploration_closed() if version.explorer is not None else None
        run = partial(microbatch.run, closed=closed, now_ns=self._now_ns)
        loop = asyncio.get_running_loop()
        if self._is_inline(version, microbatch.rows):
            done: asyncio.Future[list[Judged]] = loop.create_future()
            try:
                done.set_result(run())
            except Exception as error:  # noqa: BLE001  each caller gets it, as from the thread
                done.set_exception(error)
            self._finish(batch, done)
        else:
            self._is_thread_busy = True
            running = loop.run_in_executor(self._executor, run)
            running.add_done_callback(partial(self._finish, batch))

    def _next_batch(self) -> list[_Waiting]:
        """Take what waits for the same version, oldest first; drop what cannot be in time."""
        batch: list[_Waiting] = []
        rows = 0
        now_ns = self._now_ns()
        while self._waiting:
            waiting = self._waiting[0]
            if waiting.answer.done():  # gone, or given up
                self._drop()
                continue
            cost_ns = waiting.version.cost.estimate_ns(rows + waiting.item.rows)
            if now_ns + cost_ns > waiting.deadline_ns and not batch:
                self._drop().answer.set_result(None)
                continue
            if batch and not self._fits(waiting, batch[0], rows):
                break
            batch.append(self._drop())
            rows += waiting.item.rows
        return batch

    def _fits(self, waiting: _Waiting, first: _Waiting, rows: int) -> bool:
        return (
            waiting.version is first.version
            and waiting.table is first.table
            and waiting.item.is_fallback == first.item.is_fallback
            and rows + waiting.item.rows <= self._max_rows
        )

    def _drop(self) -> _Waiting:
        waiting = self._waiting.popleft()
        self.queued_rows -= waiting.item.rows
        return waiting

    def _finish(self, batch: list[_Waiting], done: "asyncio.Future[list[Judged]]") -> None:
        """Hand out the answers, or the failure, and go on with what arrived meanwhile."""
        self._is_thread_busy = False
        try:
            judged = done.result()
            _learn_cost(batch[0].version, judged[0].stamps)
            for waiting, answer in zip(batch, judged, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)
        except Exception as error:  # noqa: BLE001  each caller gets it, and the queue goes on
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
        finally:
            self._is_busy = bool(self._waiting)
            if self._is_busy:
                asyncio.get_running_loop().call_soon(self._flush)


def _learn_cost(version: LoadedVersion, stamps: Stamps) -> None:
    if stamps.inferred_ns > stamps.guarded_ns:
        last_ns = max(stamps.inferred_ns, stamps.explored_ns)
        version.cost.observe(stamps.batch_rows, last_ns - stamps.dequeued_ns)


def _give_up(answer: "asyncio.Future[Judged | None]") -> None:
    if not answer.done():
        answer.set_result(None)
