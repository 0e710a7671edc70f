"""A replica's queue in simulated time: real batcher and admission, models that only say a time.

Minutes of load take seconds, and every run with the same seed is the same.
"""

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gateway.errors import ShedError
from gateway.registry.routing import RoutingTable
from gateway.serving.admission import Admission
from gateway.serving.batcher import Batcher
from gateway.serving.cost import BatchCost
from gateway.serving.item import Item
from gateway.serving.versions import LoadedVersion

NS_PER_S = 1_000_000_000
Cost = Callable[[int], float]  # rows of a batch -> seconds


class _Leap(selectors.SelectSelector):
    """Does not wait until the next timer, but moves the clock there."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "nobody will ever go on"
        self.now_s += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on its own time."""

    def __init__(self) -> None:
        self._leap = _Leap()
        super().__init__(self._leap)

    def time(self) -> float:
        return self._leap.now_s


class Machine(Executor):
    """One thread of a machine on which only the model takes time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.worked_s = 0.0  # inside the batch that runs

    def now_ns(self) -> int:
        return round((self.loop.time() + self.worked_s) * NS_PER_S)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        self.worked_s = 0.0
        result = fn(*args, **kwargs)
        took_s, self.worked_s = self.worked_s, 0.0
        self.loop.call_later(took_s, done.set_result, result)
        return done


class Worker:
    """A runtime that answers zeros after ``cost_s(rows)``."""

    def __init__(self, machine: Machine, cost_s: Cost) -> None:
        self.machine = machine
        self.cost_s = cost_s
        self.batches: list[int] = []

    def predict(self, inputs: Any, *, deadline_ns: int | None = None) -> Any:
        rows = len(inputs["place"])
        self.batches.append(rows)
        self.machine.worked_s += self.cost_s(rows)
        return {"value": np.zeros((rows, 1), np.float32)}


@dataclass(frozen=True)
class Ended:
    """What became of one request."""

    sent_s: float
    took_s: float
    is_shed: bool
    is_answered: bool  # by the model


@dataclass
class Replica:
    """Batcher and admission of one replica in front of simulated models."""

    loop: VirtualLoop
    live: LoadedVersion
    table: RoutingTable
    ended: list[Ended] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.machine = Machine(self.loop)
        self.batcher = Batcher(
            self.machine,
            max_rows=256,
            inline_below_us=0,
            exploration_closed=lambda: None,
            now_ns=self.machine.now_ns,
        )
        self.admission = Admission(
            self.batcher,
            max_queued_rows=8192,
            now_ns=self.machine.now_ns,
        )

    def version(self, cost_s: Cost) -> LoadedVersion:
        """Load a model that costs ``cost_s``, with a profile that knows batches of every size."""
        cost = BatchCost()
        for rows in (2**k for k in range(9)):
            cost.model.observe(rows, round(cost_s(rows) * NS_PER_S))
        return replace(self.live, runtime=Worker(self.machine, cost_s), cost=cost, model_ns=1e12)

    async def ask(self, version: LoadedVersion, *, budget_s: float) -> Ended:
        """Send one request of one row, as the pipeline does; without a ladder."""
        sent_s = self.loop.time()
        deadline_ns = round((sent_s + budget_s) * NS_PER_S)
        item = Item("a", {"place": np.zeros((1, 1), np.float32)}, 1)
        judged, is_shed = None, False
        try:
            with self.admission.admit(version, rows=1, left_ns=round(budget_s * NS_PER_S)):
                judged = await self.batcher.submit(version, self.table, item, deadline_ns)
        except ShedError:
            is_shed = True
        ended = Ended(sent_s, self.loop.time() - sent_s, is_shed, judged is not None)
        self.ended.append(ended)
        return ended

    async def open_loop(
        self, version: LoadedVersion, *, per_s: float, for_s: float, seed: int = 0, **ask: Any
    ) -> None:
        """Send Poisson arrivals, whatever becomes of those before."""
        rng = np.random.default_rng(seed)
        arrivals_s = np.sort(rng.uniform(0, for_s, rng.poisson(per_s * for_s)))
        began_s = self.loop.time()
        tasks = []
        for arrival_s in arrivals_s.tolist():
            await asyncio.sleep(began_s + arrival_s - self.loop.time())
            tasks.append(asyncio.ensure_future(self.ask(version, **ask)))
        await asyncio.gather(*tasks)

    async def closed_loop(
        self, version: LoadedVersion, *, clients: int, for_s: float, **ask: Any
    ) -> None:
        """Let some clients each send its next request when it has the answer to the last."""
        end_s = self.loop.time() + for_s

        async def client() -> None:
            while self.loop.time() < end_s:
                if (await self.ask(version, **ask)).is_shed:
                    await asyncio.sleep(0.01)

        await asyncio.gather(*(client() for _ in range(clients)))

    def between(self, from_s: float, to_s: float) -> list[Ended]:
        """Pick the requests sent in a span of time."""
        return [ended for ended in self.ended if from_s <= ended.sent_s < to_s]
