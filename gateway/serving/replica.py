"""The Serve deployment of one model: one process that keeps its versions warm and answers."""

import asyncio
import faulthandler
import logging
import os
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
from starlette.types import ASGIApp

from gateway.config import Config
from gateway.record.inflight import Flight, note_path
from gateway.record.journal import GroupCommitter, Journal
from gateway.record.traffic import encode_traffic
from gateway.registry.artifacts import ArtifactStore
from gateway.registry.deaths import Deaths
from gateway.registry.routing import RoutingTable
from gateway.registry.switches import Switch, Switches
from gateway.serving.admission import Admission
from gateway.serving.batcher import Batcher
from gateway.serving.breaker import Breakers
from gateway.serving.description import answering
from gateway.serving.edge import ShortWay
from gateway.serving.fingerprint import Fingerprints
from gateway.serving.ingress import Feedback, Ingress
from gateway.serving.intake import Intake
from gateway.serving.ladder import Ladder
from gateway.serving.pipeline import Pipeline
from gateway.serving.recording import Recording
from gateway.serving.statistics import Statistics, VersionStats, total
from gateway.serving.suspects import Suspects
from gateway.serving.switch import ExploreGate
from gateway.serving.table_source import TableSource
from gateway.serving.versions import LoadedVersion, Versions

BEAT_S = 0.25
DEATHS_CHECK_S = 0.5
SWITCH_CHECK_S = 0.5  # off must be off everywhere within a second
log = logging.getLogger(__name__)

CountsByReplica = Callable[[], Awaitable[list[list[VersionStats]]]]


class Replica:
    """Built by Serve in its own process; `serve.ingress` makes it answer HTTP."""

    async def __init__(  # type: ignore[misc]  # Serve awaits an async constructor
        self,
        model: str,
        config: Config,
        *,
        feedback: Feedback,
        counts: CountsByReplica,
        protect: Callable[[ASGIApp], ASGIApp] | None,
        salt: bytes,
    ) -> None:
        """Load every version of the routing table; Serve routes here only afterwards.

        Args:
            model: Name of the model.
            config: Settings of the gateway.
            feedback: Stores labels; given, because labels belong to a layer beside this one.
            counts: Asks every replica of the model, this one too, for its `statistics`; who does
                not answer is left out.
            protect: Puts a check of keys in front; None: inference is open.
            salt: Secret of the exploration draws, the same in every replica.
        """
        self._model = model
        self._config = config
        self._salt = salt
        self._breakers = Breakers(now_ns=time.perf_counter_ns, random=random.random)
        self._statistics = Statistics(model)
        self._counts = counts
        self._tables = TableSource(model, config)
        writer = f"{model}~{uuid.uuid4().hex[:12]}"
        journal = Journal(config.journal_dir, writer=writer, settings=config.record)
        self._journal = GroupCommitter(journal, asyncio.get_running_loop(), settings=config.record)
        # Before the versions are loaded: its siblings know it when it begins to answer.
        self._flight = open_flight(config, writer)
        self._suspects = Suspects(
            model,
            self._flight,
            Deaths(config.database_url),
            has_siblings=config.serving.replicas > 1,
        )
        self._switches = Switches(config.database_url)
        self._explore_gate = ExploreGate(
            is_healthy=lambda: journal.healthy, filled_share=lambda: journal.filled_share
        )
        await self._look_at_switch()
        store = ArtifactStore(config.artifacts_url)
        self._versions = Versions(
            lambda digest: store.fetch(digest, config.bundle_cache_dir),
            salt=salt,
            replicas=config.serving.replicas,
        )
        await self._versions.apply(await asyncio.to_thread(self._tables.first))
        ingress = self._build(feedback)
        self._app = ingress if protect is None else protect(ingress)
        await asyncio.to_thread(self._suspects.refresh)
        self._chores = [
            asyncio.create_task(chore)
            for chore in (
                self._follow(),
                self._follow_deaths(),
                self._follow_switch(),
                self._beat(),
                self._tell_traffic(),
            )
        ]

    def _build(self, feedback: Feedback) -> Ingress:
        """Wire the request path."""
        settings = self._config.serving
        batcher = Batcher(
            ThreadPoolExecutor(1, thread_name_prefix="infer"),
            max_rows=settings.max_batch_rows,
            inline_below_us=settings.inline_below_us,
            exploration_closed=self._explore_gate.closed,
            count_batch=self._statistics.count_batch,
            lane=self._flight.lane(0),
        )
        rungs = Batcher(
            ThreadPoolExecutor(1, thread_name_prefix="rung"),
            max_rows=settings.max_batch_rows,
            inline_below_us=settings.inline_below_us,
            exploration_closed=lambda: None,  # a rung's answer is never explored
            lane=self._flight.lane(1),
        )
        pipeline = Pipeline(
            self._versions,
            batcher,
            Admission(
                batcher,
                max_queued_rows=settings.max_queued_rows,
            ),
            Ladder(batcher, rungs),
            self._breakers,
            fingerprints=Fingerprints(self._model, key=self._salt),
            suspects=self._suspects,
        )
        return Ingress(
            self._model,
            versions=self._versions,
            pipeline=pipeline,
            recording=Recording(self._journal, self._model, self._statistics),
            feedback=feedback,
            statistics=self._statistics_of_all,
            intake=Intake(self._model, max_bytes=settings.max_in_flight_bytes),
            max_body_bytes=self._config.server.max_body_bytes,
            max_json_bytes=self._config.server.max_json_bytes,
            max_batch_rows=settings.max_batch_rows,
        )

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Give Serve the application; called once, after the constructor."""
        ShortWay.open(f"/v2/models/{self._model}/", self._app)
        return self._app

    async def route(self, table: bytes) -> int:
        """Take a pushed routing table; return the revision that serves afterwards."""
        return await self._switch(msgspec.json.decode(table, type=RoutingTable))

    async def explore(self, switch: bytes) -> int:
        """Take a pushed state of the kill switch; return the revision that holds afterwards."""
        return self._explore_gate.turn(msgspec.json.decode(switch, type=Switch))

    def versions(self) -> dict[str, Any]:
        """Say what serves here: for status and tests."""
        view = self._versions.view
        return {
            "pid": os.getpid(),
            "revision": view.table.revision,
            "live": view.table.live,
            "warm": sorted(view.loaded),
            "breakers": {name: self._breaker(loaded) for name, loaded in view.loaded.items()},
        }

    def _breaker(self, loaded: LoadedVersion) -> str:
        return self._breakers.of(loaded.ref.digest, model=self._model).state.value

    def statistics(self) -> list[VersionStats]:
        """Tell what this replica has counted since it started."""
        return self._statistics.told(answering(self._versions.view))

    async def _statistics_of_all(self) -> list[VersionStats]:
        """Add up what the replicas of this model have counted, this one alone if none answers."""
        return total(await self._counts() or [self.statistics()])

    async def _switch(self, table: RoutingTable) -> int:
        revision = await self._versions.apply(table)
        await asyncio.to_thread(self._tables.keep, self._versions.view.table)
        return revision

    async def _follow(self) -> None:
        """Repair a missed push; while the control plane is away, the last table serves on."""
        while True:
            await asyncio.sleep(self._config.serving.table_check_s)
            table = await asyncio.to_thread(self._tables.latest)
            if table is None or table.revision <= self._versions.view.table.revision:
                continue
            try:
                await self._switch(table)
            except Exception:
                log.exception("revision %d of %s does not load", table.revision, self._model)

    async def _follow_deaths(self) -> None:
        """Learn of deaths and of new siblings."""
        while True:
            await asyncio.sleep(DEATHS_CHECK_S)
            try:
                await asyncio.to_thread(self._suspects.refresh)
            except Exception:
                log.exception("what is known of deaths is not renewed")

    async def _follow_switch(self) -> None:
        """Look at the kill switch, so that a push that is lost is no matter."""
        while True:
            await asyncio.sleep(SWITCH_CHECK_S)
            await self._look_at_switch()

    async def _look_at_switch(self) -> None:
        """Keep what is known for a while if it cannot be read; nothing known means off."""
        try:
            self._explore_gate.turn(await asyncio.to_thread(self._switches.of, self._model))
        except Exception as error:  # noqa: BLE001  whatever it is, the gate closes by itself
            log.warning("the kill switch cannot be read: %s", type(error).__name__)

    async def _tell_traffic(self) -> None:
        """Put what was counted so far into the journal, every so often."""
        while True:
            await asyncio.sleep(self._config.record.traffic_s)
            try:
                self._tell_traffic_once()
            except Exception:
                log.exception("what was counted of the traffic is not told")

    def _tell_traffic_once(self) -> None:
        for loaded in self._versions.view.loaded.values():
            if loaded.traffic is None:
                continue
            record = loaded.traffic.record(self._model, loaded.ref.version, loaded.ref.digest)
            if record is not None:
                self._journal.append(encode_traffic(record))

    async def _beat(self) -> None:
        """Show whoever looks from outside that the event loop turns."""
        while True:
            self._flight.beat(time.monotonic_ns())
            await asyncio.sleep(BEAT_S)


def open_flight(config: Config, writer: str) -> Flight:
    """Make the in-flight file of this process; a crash of native code leaves a note beside it."""
    slots = config.serving.max_batch_rows  # no batch has more requests than rows
    flight = Flight.create(config.journal_dir, writer=writer, slots=slots)
    note = note_path(config.journal_dir, writer).open("w")  # stays open: a signal handler writes it
    faulthandler.enable(note, all_threads=False)
    return flight
