"""The shadow evaluator: one process that judges what the gateway answered.  START here.

Spans notify it; the evidence is what it judges.  Everything it knows is in the database,
so it may die at any time: the next one goes on from there, and the report is the same.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, TypeVar

from gateway.background import step_back
from gateway.config import Config
from gateway.evaluate.alerts import AlertWatch
from gateway.evaluate.drift import DriftWatch
from gateway.evaluate.judge import Judge
from gateway.evaluate.judgements import Judgements
from gateway.evaluate.loop_watch import LoopWatch
from gateway.evaluate.outage import OUTAGES
from gateway.evaluate.quality_watch import QualityWatch
from gateway.evaluate.receiver import Receiver
from gateway.evaluate.report import report
from gateway.evaluate.shadow_process import RayShadow
from gateway.evaluate.shadows import Shadow, ShadowProcess, ShadowRef
from gateway.record.evidence import Evidence
from gateway.registry.artifacts import ArtifactStore
from gateway.registry.database import open_database
from gateway.registry.drift import DriftStore
from gateway.registry.loop import LoopStore
from gateway.registry.quality import QualityStore
from gateway.registry.registry import Registry
from gateway.registry.routing import RoutingTable
from models.bundle import Bundle

log = logging.getLogger(__name__)

NS_PER_S = 10**9

_T = TypeVar("_T")


class Evaluator:
    """Receives spans, judges the evidence and runs the shadows, until its process ends."""

    def __init__(
        self, config: Config, *, grpc_port: int, http_port: int, in_background: bool = False
    ) -> None:
        if in_background:  # requests go before judgements
            step_back()
        self._config = config
        artifacts = ArtifactStore(config.artifacts_url)
        engine = open_database(config.database_url)
        self._registry = Registry(engine, artifacts)
        self._judgements = Judgements(engine)
        self._evidence = Evidence(config.evidence_url)
        self._judge = Judge(self._evidence, self._judgements)
        self._receiver = Receiver(self._judge.take, grpc_port=grpc_port, http_port=http_port)
        self._drift = DriftWatch(
            DriftStore(config.database_url),
            self._open_bundle,
            tick_s=config.evaluate.drift_s,
            clock_s=time.time,
        )
        self._loop = LoopWatch(
            engine,
            self._registry,
            self._evidence,
            LoopStore(config.database_url),
            clock_ns=time.time_ns,
        )
        quality = QualityStore(config.database_url)
        self._alerts = AlertWatch(
            self._registry,
            lambda model: report(engine, self._registry, model, alpha=config.evaluate.alpha),
            quality,
            clock_s=time.time,
        )
        self._quality = QualityWatch(
            engine,
            self._registry,
            self._evidence,
            quality,
            self._open_bundle,
            alpha=config.evaluate.alpha,
        )
        # Minutes of decisions at once: nothing may have to wait for it.
        self._loop_executor = ThreadPoolExecutor(1, thread_name_prefix="loop")
        # One thread for all else that waits for the database: writers would only queue there.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="judge")
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._shadows: dict[str, tuple[Shadow, asyncio.Task[None]]] = {}
        self._starting, self._reloading = asyncio.Lock(), asyncio.Lock()
        self._receiving = False
        self._outages = 0

    async def start(self) -> None:
        """Make sure everything runs; called again and again by whoever looks after it.

        Raises:
            OSError: a port is taken.
        """
        async with self._starting:
            if not self._receiving:
                await self._receiver.start()
                self._receiving = True
            settings = self._config.evaluate
            self._keep("judge", self._judge.judge_notified, every_s=settings.judge_ms / 1000)
            self._keep("reconcile", self._judge.reconcile, every_s=settings.reconcile_s)
            self._keep("drift", self._drift.tick, every_s=settings.drift_s)
            self._keep(
                "loop", self._loop.tick, every_s=settings.loop_s, executor=self._loop_executor
            )
            self._keep(
                "quality",
                self._quality.tick,
                every_s=settings.quality_s,
                executor=self._loop_executor,
            )
            self._keep("alerts", self._alerts.tick, every_s=settings.quality_s)
            if not _runs(self._loops.get("follow")):
                self._loops["follow"] = asyncio.create_task(self._follow())

    async def reload(self) -> None:
        """Read the registry again: stop the shadows that are gone, begin those that are new."""
        async with self._reloading:
            wanted = await self._in_thread(self._wanted)
            for model, (shadow, task) in list(self._shadows.items()):
                if wanted.get(model) != shadow.ref or not _runs(task):
                    task.cancel()
                    del self._shadows[model]
            for model in wanted.keys() - self._shadows.keys():
                shadow = self._shadow(wanted[model])
                self._shadows[model] = (shadow, asyncio.create_task(shadow.run()))

    async def status(self) -> dict[str, Any]:
        """Say what came in, what was judged, and how the shadows are."""
        return {
            "grpc_port": self._receiver.grpc_port,
            "http_port": self._receiver.http_port,
            "spans_received": self._receiver.spans_received,
            "pending": self._judge.pending,
            "judged": self._judge.notified + self._judge.reconciled,
            "judged_by_span": self._judge.notified,
            "outages": self._outages,
            "shadows": {model: asdict(s.status) for model, (s, _) in self._shadows.items()},
        }

    async def stop(self) -> None:
        """End everything; what was judged stays."""
        tasks = [*self._loops.values(), *(task for _, task in self._shadows.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._receiver.stop()
        self._executor.shutdown()
        self._loop_executor.shutdown()

    def _keep(
        self,
        name: str,
        work: Callable[[], int],
        *,
        every_s: float,
        executor: ThreadPoolExecutor | None = None,
    ) -> None:
        """Begin a loop, unless it runs."""
        if not _runs(self._loops.get(name)):
            repeated = self._repeat(work, every_s, executor or self._executor)
            self._loops[name] = asyncio.create_task(repeated)

    async def _repeat(
        self, work: Callable[[], int], every_s: float, executor: ThreadPoolExecutor
    ) -> None:
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(executor, work)
            except OUTAGES as error:
                self._note_outage(error)
            await asyncio.sleep(every_s)

    async def _follow(self) -> None:
        """Look at the registry now and then, for a change that nobody told."""
        while True:
            try:
                await self.reload()
            except OUTAGES as error:
                self._note_outage(error)
            await asyncio.sleep(self._config.evaluate.reconcile_s)

    def _open_bundle(self, digest: str) -> Bundle:
        return self._registry.artifacts.open_bundle(digest, self._config.bundle_cache_dir)

    def _note_outage(self, error: Exception) -> None:
        self._outages += 1
        log.warning("evidence or database is away, trying again: %s", error)

    def _wanted(self) -> dict[str, ShadowRef]:
        """Ask the registry for the shadow of every model that has one."""
        refs = (self._ref(table) for table in self._registry.tables())
        return {ref.model: ref for ref in refs if ref is not None}

    def _ref(self, table: RoutingTable) -> ShadowRef | None:
        ref = None if table.shadow is None else table.ref(table.shadow)
        if ref is None:
            return None
        since_s = max(
            (
                entry.at_s
                for entry in self._registry.audit(table.model)
                if entry.version == ref.version and entry.to_state == "shadow"
            ),
            default=0.0,
        )
        return ShadowRef(table.model, ref.version, ref.digest, int(since_s * NS_PER_S))

    def _shadow(self, ref: ShadowRef) -> Shadow:
        return Shadow(
            ref,
            self._evidence,
            judgements=self._judgements,
            launch=self._launch,
            executor=self._executor,
            poll_s=self._config.evaluate.judge_ms / 1000,
        )

    async def _launch(self, ref: ShadowRef) -> ShadowProcess:
        cache = self._config.bundle_cache_dir
        path = await asyncio.to_thread(self._registry.artifacts.fetch, ref.digest, cache)
        return RayShadow(path, ref.digest)

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)


def _runs(task: asyncio.Task[None] | None) -> bool:
    """Whether a loop runs; one that ended did so for a fault, which is logged here."""
    if task is None:
        return False
    if task.done() and not task.cancelled() and (error := task.exception()) is not None:
        log.error("a loop of the evaluator ended", exc_info=error)
    return not task.done()
