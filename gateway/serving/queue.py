"""What waits in front of a device, and which of it goes together.

The largest batch that still meets the tightest deadline in it.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from gateway.registry.routing import RoutingTable
from gateway.serving.item import Item, Judged
from gateway.serving.versions import LoadedVersion

INLINE_ROWS = 128  # more rows keep the event loop for milliseconds, however quick the model


@dataclass(frozen=True, slots=True)
class Waiting:
    """One request that waits."""

    version: LoadedVersion
    table: RoutingTable
    item: Item
    deadline_ns: int
    answer: asyncio.Future[Judged | None]
    is_inline: bool


class Queue:
    """Requests in the order they came; every method runs on the event loop."""

    def __init__(self, *, max_rows: int) -> None:
        self._max_rows = max_rows  # of one batch
        self._line: deque[Waiting] = deque()
        self.rows = 0
        self.for_thread = 0  # who will not be answered on the loop

    def __bool__(self) -> bool:
        return bool(self._line)

    def add(self, waiting: Waiting) -> None:
        """Put a request behind the others."""
        self._line.append(waiting)
        self.rows += waiting.item.rows
        self.for_thread += not waiting.is_inline

    def work_ns(self, version: LoadedVersion) -> float:
        """Estimate how long all that waits takes, as if it were for ``version``."""
        full, rest = divmod(self.rows, self._max_rows)
        work_ns = full * version.cost.estimate_ns(self._max_rows)
        return work_ns + (version.cost.estimate_ns(rest) if rest else 0.0)

    def next_batch(self, now_ns: int) -> list[Waiting]:
        """Take what waits for the same version, oldest first; drop what cannot be in time."""
        batch: list[Waiting] = []
        rows, tightest_ns = 0, 0
        while self._line:
            waiting = self._line[0]
            if waiting.answer.done():  # gone, or given up
                self._drop()
                continue
            if self._is_too_late(waiting, now_ns):
                self._drop().answer.set_result(None)
                continue
            rows += waiting.item.rows
            tightest_ns = min(tightest_ns or waiting.deadline_ns, waiting.deadline_ns)
            left_ns = tightest_ns - now_ns
            if batch and not self._fits(waiting, batch[0], rows=rows, left_ns=left_ns):
                break
            batch.append(self._drop())
        return batch

    def _is_too_late(self, waiting: Waiting, now_ns: int) -> bool:
        """Whether it cannot be in time even alone; when in doubt, it is tried now and again."""
        version, rows = waiting.version, waiting.item.rows
        left_ns = waiting.deadline_ns - now_ns
        must_guard = not (version.chain.optional or waiting.item.is_fallback)
        guards_ns = version.cost.guards.typical_ns(rows) if must_guard else 0.0
        if guards_ns + version.cost.model.typical_ns(rows) <= left_ns:
            return False
        model = version.cost.model
        return model.quickest_ns(rows) > left_ns or not model.is_doubtful(now_ns)

    def _fits(self, waiting: Waiting, first: Waiting, *, rows: int, left_ns: int) -> bool:
        """Whether ``waiting`` may join a batch that then has ``rows`` rows and ``left_ns``.

        Haste is not shared: who has no time for the optional guards rides alone, so nobody's
        guards are left out because of a neighbour's deadline.
        """
        cost = first.version.cost
        estimate_ns = (cost.model if first.item.is_fallback else cost).estimate_ns(rows)
        return (
            waiting.version is first.version
            and waiting.table is first.table
            and waiting.item.is_fallback == first.item.is_fallback
            and not (waiting.item.is_alone or first.item.is_alone)
            # On the thread nobody is answered in time whom no timer watches over.
            and waiting.is_inline == first.is_inline
            and (rows <= INLINE_ROWS or not first.is_inline)
            and rows <= min(self._max_rows, first.version.limit.rows or self._max_rows)
            and estimate_ns <= left_ns
        )

    def _drop(self) -> Waiting:
        waiting = self._line.popleft()
        self.rows -= waiting.item.rows
        self.for_thread -= not waiting.is_inline
        return waiting
