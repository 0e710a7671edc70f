"""Zero-wait batching: whatever arrived in this turn of the event loop goes together.

No timer.  A tiny model runs on the loop itself, because a thread hop costs more
than the model; any other runs on the one inference thread, and what arrives while
it is busy makes the next batch: the largest that still meets the tightest deadline in it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial

from gateway.dying import end_process
from gateway.errors import ClientGoneError
from gateway.record.inflight import Lane
from gateway.registry.routing import RoutingTable
from gateway.serving.deadline import NS_PER_MS, NS_PER_US
from gateway.serving.item import Item, Judged, Stamps
from gateway.serving.microbatch import Microbatch
from gateway.serving.queue import INLINE_ROWS, Queue, Waiting
from gateway.serving.versions import Die, LoadedVersion
from models.errors import StickyDeviceError

# A batch that runs for longer than this, or than twice the model's budget, hangs.
HUNG_AFTER_NS = 3_000_000_000

Gone = Callable[[], Awaitable[None]]  # returns when the client has closed the connection


class Batcher:
    """The queue in front of one device.  Every method runs on the event loop."""

    def __init__(
        self,
        executor: Executor,
        *,
        max_rows: int,
        inline_below_us: float,
        exploration_closed: Callable[[], str | None],
        count_batch: Callable[[str, Stamps], None] | None = None,
        lane: Lane | None = None,
        now_ns: Callable[[], int] = time.perf_counter_ns,
        die: Die = end_process,
    ) -> None:
        self._executor = executor  # of exactly one thread
        self._inline_below_ns = inline_below_us * NS_PER_US
        self._exploration_closed = exploration_closed
        self._count_batch = count_batch  # a batch that the model of this version answered
        self._lane = lane  # where the running batch is marked for others to see
        self._now_ns = now_ns
        self._die = die  # when the device is lost: this process must answer nothing any more
        self._queue = Queue(max_rows=max_rows)
        self._is_busy = False  # a flush is scheduled, or the thread is at work
        self._running: LoadedVersion | None = None  # on the thread
        self._began_ns = 0  # the batch that runs now, or ran last
        self._over_ns = 0.0  # when it is expected to be over

    @property
    def queued_rows(self) -> int:
        """How many rows wait for their batch to begin."""
        return self._queue.rows

    def predicted_wait_ns(self, version: LoadedVersion) -> float:
        """Predict how long a new request for ``version`` waits before its batch begins."""
        ahead = self._queue.work_ns(version)
        if self._running is not None:
            ahead += max(0.0, self._over_ns - self._now_ns())
        return ahead

    def running(self) -> tuple[LoadedVersion, int] | None:
        """Name the version that the inference thread is at, and for how long, in ns."""
        return None if self._running is None else (self._running, self._now_ns() - self._began_ns)

    async def submit(
        self,
        version: LoadedVersion,
        table: RoutingTable,
        item: Item,
        deadline_ns: int,
        *,
        gone: Gone | None = None,
    ) -> Judged | None:
        """Wait for the answer; None when the deadline came first, or was sure to.

        Raises:
            ClientGoneError: ``gone`` returned first; if the batch had not begun, it goes without.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Judged | None] = loop.create_future()
        is_inline = self._is_inline(version, item.rows)
        self._queue.add(Waiting(version, table, item, deadline_ns, answer, is_inline))
        if not self._is_busy:
            self._is_busy = True
            loop.call_soon(self._flush)
        if self._running is None and not self._queue.for_thread:
            return await answer  # in this turn of the loop: no timer is as quick
        left_s = (deadline_ns - self._now_ns()) / 1e9
        timer = loop.call_later(max(left_s, 0.0), _give_up, answer)
        watcher = None if gone is None else asyncio.ensure_future(gone())
        if watcher is not None:
            watcher.add_done_callback(partial(_leave, answer))
        try:
            return await answer
        finally:
            timer.cancel()
            if watcher is not None:
                watcher.cancel()

    def _is_inline(self, version: LoadedVersion, rows: int) -> bool:
        """Whether a batch is over so soon that the event loop may wait for it."""
        return version.model_ns < self._inline_below_ns and rows <= INLINE_ROWS

    def _flush(self) -> None:
        """Form the next batch and run it."""
        batch = self._queue.next_batch(self._now_ns())
        if not batch:
            self._is_busy = bool(self._queue)
            if self._is_busy:
                asyncio.get_running_loop().call_soon(self._flush)
            return
        version, table = batch[0].version, batch[0].table
        self._began_ns = self._now_ns()
        left_ns = batch[0].deadline_ns - self._began_ns
        is_hurried = _is_hurried(batch[0], left_ns, now_ns=self._began_ns)
        version.cost.model.tried_ns = self._began_ns
        if not is_hurried:
            version.cost.guards.tried_ns = self._began_ns
        microbatch = Microbatch(
            version,
            [waiting.item for waiting in batch],
            table,
            # Who is late before then has been answered by the ladder.
            deadline_ns=max(waiting.deadline_ns for waiting in batch),
            now_ns=self._now_ns,
        )
        run = partial(
            _run_or_die,
            microbatch,
            self._die,
            closed=self._exploration_closed() if version.chooser is not None else None,
            is_hurried=is_hurried,
        )
        self._over_ns = self._began_ns + version.cost.estimate_ns(microbatch.rows)
        self._mark(batch)
        loop = asyncio.get_running_loop()
        if batch[0].is_inline:  # then all of them are
            done: asyncio.Future[list[Judged]] = loop.create_future()
            try:
                done.set_result(run())
            except Exception as error:  # noqa: BLE001  each caller gets it, as from the thread
                done.set_exception(error)
            self._finish(batch, left_ns, done)
        else:
            self._running = version
            running = loop.run_in_executor(self._executor, run)
            running.add_done_callback(partial(self._finish, batch, left_ns))

    def _mark(self, batch: list[Waiting]) -> None:
        """Leave word of what is being computed, in case this process does not survive it."""
        if self._lane is None:
            return
        budget_ns = round(batch[0].version.manifest.expectations.latency_ms * NS_PER_MS)
        self._lane.begin(
            [waiting.item.fingerprint for waiting in batch],
            began_ns=self._began_ns,
            hung_at_ns=self._began_ns + max(2 * budget_ns, HUNG_AFTER_NS),
        )

    def _finish(
        self, batch: list[Waiting], left_ns: int, done: "asyncio.Future[list[Judged]]"
    ) -> None:
        """Hand out the answers, or the failure, and go on with what arrived meanwhile."""
        self._running = None
        if self._lane is not None:
            self._lane.end()
        loop = asyncio.get_running_loop()
        try:
            judged = done.result()
            if self._count_batch is not None and any(one.outputs is not None for one in judged):
                self._count_batch(batch[0].version.ref.version, judged[0].stamps)
            for waiting, answer in zip(batch, judged, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)
            loop.call_soon(_learn, batch[0].version, judged[0], left_ns)
        except Exception as error:  # noqa: BLE001  each caller gets it, and the queue goes on
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
        finally:
            self._is_busy = bool(self._queue)
            if self._is_busy:
                loop.call_soon(self._flush)


def _run_or_die(
    microbatch: Microbatch, die: Die, *, closed: str | None, is_hurried: bool
) -> list[Judged]:
    """Run on the thread that meets the error: the event loop may be busy with answers."""
    try:
        return microbatch.run(closed=closed, is_hurried=is_hurried)
    except StickyDeviceError as error:
        die(error)


def _is_hurried(waiting: Waiting, left_ns: int, *, now_ns: int) -> bool:
    """Whether only leaving out the optional guards lets it be in time."""
    version = waiting.version
    return (
        bool(version.chain.optional)
        and version.cost.typical_ns(waiting.item.rows) > left_ns
        and not version.cost.guards.is_doubtful(now_ns)
    )


def _learn(version: LoadedVersion, judged: Judged, left_ns: int) -> None:
    """Take in what a batch cost and saw, behind its answers and before the next batch."""
    stamps = judged.stamps
    has_guarded = stamps.guarded_ns and not judged.skipped_guards
    last_ns = max(stamps.inferred_ns, stamps.explored_ns)
    version.cost.learn(
        stamps.batch_rows,
        guards_ns=stamps.guarded_ns - stamps.dequeued_ns if has_guarded else None,
        model_ns=last_ns - (stamps.guarded_ns or stamps.dequeued_ns),
        is_whole=stamps.is_whole,
        left_ns=left_ns,
    )
    if version.traffic is not None and version.traffic.is_due:
        version.traffic.fold()


def _give_up(answer: "asyncio.Future[Judged | None]") -> None:
    if not answer.done():
        answer.set_result(None)


def _leave(answer: "asyncio.Future[Judged | None]", watcher: "asyncio.Future[None]") -> None:
    if not watcher.cancelled() and not answer.done():
        answer.set_exception(ClientGoneError())
