"""A replica's request path in this process: versions, pipeline, record; no Ray, wire or disk."""

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.errors import DeadlineError, ShedError
from gateway.record.decision import Decision, decode
from gateway.record.ids import prediction_id
from gateway.record.traffic import TrafficRecord
from gateway.registry.routing import RoutingTable, VersionRef
from gateway.serving.admission import Admission
from gateway.serving.batcher import Batcher
from gateway.serving.breaker import Breakers
from gateway.serving.codec import DATATYPES
from gateway.serving.fingerprint import Fingerprints
from gateway.serving.ladder import Ladder
from gateway.serving.pipeline import Pipeline
from gateway.serving.progress import Answer, Progress, Request
from gateway.serving.protocol import Envelope, RequestedInput
from gateway.serving.recording import Arrival, Recording
from gateway.serving.statistics import Statistics
from gateway.serving.versions import Versions
from models.bundle import Bundle

MAX_ROWS = 4096  # of a micro-batch
AGAIN_S = 0.05
SALT = b"the salt of the benchmarks"


class KeptRecords:
    """Stands where the journal's committer stands, and keeps what is written."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def append(self, body: bytes) -> None:
        self.bodies.append(body)

    def take(self) -> list[Decision]:
        """Hand out all records since the last time."""
        bodies, self.bodies = self.bodies, []
        return [decode(body) for body in bodies]


class InProcessModel:
    """One model; `deploy` switches to another version of it, `infer` asks the live one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.records = KeptRecords()
        self._paths: dict[str, Path] = {}
        self._versions = Versions(self._paths.__getitem__, salt=SALT)
        self._revision = 0
        statistics = Statistics(name)
        batcher, rungs = (
            Batcher(
                ThreadPoolExecutor(1),
                max_rows=MAX_ROWS,
                inline_below_us=1e9,  # nothing else to do on this loop meanwhile
                exploration_closed=lambda: None,
                count_batch=statistics.count_batch,
            )
            for _ in range(2)
        )
        self._pipeline = Pipeline(
            self._versions,
            batcher,
            Admission(batcher, max_queued_rows=1 << 20),
            Ladder(batcher, rungs),
            Breakers(now_ns=time.perf_counter_ns, random=lambda: 0.0),
            fingerprints=Fingerprints(name, key=SALT),
        )
        self._recording = Recording(self.records, name, statistics)  # type: ignore[arg-type]

    async def deploy(self, bundle: Bundle) -> None:
        """Make a version live, as a pushed routing table does."""
        ref = VersionRef(bundle.manifest.version, bundle.digest)
        self._paths[bundle.digest] = bundle.path
        self._revision += 1
        await self._versions.apply(RoutingTable(self.name, self._revision, ref.version, (ref,)))

    def traffic(self) -> TrafficRecord | None:
        """What the live version counted so far, as a replica tells it; None: nothing new."""
        live = self._versions.view.live
        if live.traffic is None:
            return None
        return live.traffic.record(self.name, live.ref.version, live.ref.digest)

    async def infer(self, request_id: str, inputs: Mapping[str, NDArray[Any]]) -> Answer:
        """Take a request from its tensors' bytes to its record; without an answer it asks again."""
        while True:
            try:
                return await self._infer(request_id, inputs)
            except (DeadlineError, ShedError):  # the machine was busy with something else
                await asyncio.sleep(AGAIN_S)

    async def _infer(self, request_id: str, inputs: Mapping[str, NDArray[Any]]) -> Answer:
        envelope = Envelope(
            id=request_id,
            parameters={},
            inputs=tuple(
                RequestedInput(name, array.shape, DATATYPES[array.dtype])
                for name, array in inputs.items()
            ),
            outputs=(),
            parts={
                name: memoryview(np.ascontiguousarray(array)).cast("B")
                for name, array in inputs.items()
            },
        )
        arrival = Arrival(request_id, traceparent=b"", tracestate=b"")
        progress = Progress()
        prediction = prediction_id(self.name, request_id, b"")
        request = Request(
            prediction,
            parse=lambda signature: envelope,
            version=None,
            timeout_ms=None,
            arrived_ns=arrival.arrived_ns,
            gone=_never,
        )
        answer = await self._pipeline.infer(request, progress)
        self._recording.record(arrival, prediction, progress, answer=answer, error=None)
        return answer


async def _never() -> None:
    await asyncio.Event().wait()
