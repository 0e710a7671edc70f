"""One shadow of one model: follows the captured requests, one process at a time.

It only ever reads what the live version left behind.  Whatever happens to the process,
judgement of the live version goes on, and another process takes over where this one was.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeVar

import msgspec

from gateway.config import MIB
from gateway.errors import GatewayError
from gateway.evaluate.judgements import Judgements
from gateway.evaluate.outage import OUTAGES
from gateway.record.evidence import Evidence
from models.errors import ModelError

log = logging.getLogger(__name__)

BATCH_PAYLOADS = 128
BATCH_BYTES = 8 * MIB  # the embedded object store holds 100
BACK_OFF_S = (1.0, 2.0, 5.0, 15.0, 60.0)  # after each loss in a row

_T = TypeVar("_T")


class ShadowLostError(Exception):
    """The process of a shadow did not load the model, died, or does not answer."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        """Say what happened to it."""
        return self.problem


class ShadowProcess(Protocol):
    """A process that holds the model.  Both verbs raise `ShadowLostError`."""

    async def load(self) -> int:
        """Return its process id, once it answers."""
        ...

    async def predict(self, payloads: Sequence[bytes]) -> list[list[float] | None]:
        """Answer payloads, one number per row; None where it cannot."""
        ...

    def stop(self) -> None:
        """End it, in whatever state it is."""
        ...


@dataclass(frozen=True, slots=True)
class ShadowRef:
    """Which version shadows a model."""

    model: str
    version: str
    digest: str
    since_ns: int  # Unix; when it became the shadow: it answers what arrived from then on

    @property
    def reader(self) -> str:
        """The name of its position; a version that becomes the shadow again begins again."""
        return f"shadow/{self.model}/{self.version}/{self.since_ns}"


@dataclass(frozen=True, slots=True)
class ShadowStatus:
    """How a shadow is."""

    version: str
    state: Literal["loading", "ready", "failed"] = "loading"
    reason: str = ""  # of the failure
    pid: int | None = None
    answered: int = 0  # payloads, by this evaluator
    failed: int = 0
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some captured requests, in order; payload None where the evidence has lost it."""

    payloads: dict[str, bytes | None]
    last_seq: int


class Shadow:
    """Follows the captured requests of one model; `run` ends only when it is cancelled."""

    def __init__(
        self,
        ref: ShadowRef,
        evidence: Evidence,
        *,
        judgements: Judgements,
        launch: Callable[[ShadowRef], Awaitable[ShadowProcess]],
        executor: Executor,
        poll_s: float,
    ) -> None:
        self.ref = ref
        self.status = ShadowStatus(ref.version)
        self._evidence = evidence
        self._judgements = judgements
        self._launch = launch
        self._executor = executor
        self._poll_s = poll_s
        self._limit = BATCH_PAYLOADS

    async def run(self) -> None:
        """Keep a process at work; a lost one is replaced after a pause that grows."""
        losses = 0  # in a row, without an answer in between
        while True:
            answered = self.status.answered
            try:
                await self._work()
            except (ShadowLostError, ModelError, GatewayError, *OUTAGES) as error:
                self._note(state="failed", reason=str(error), restarts=self.status.restarts + 1)
                log.warning("shadow %s of %s: %s", self.ref.version, self.ref.model, error)
            losses = 0 if self.status.answered > answered else losses + 1
            await asyncio.sleep(BACK_OFF_S[min(losses, len(BACK_OFF_S) - 1)])

    async def _work(self) -> None:
        """Load the model and answer whatever comes."""
        self._note(state="loading")
        process = await self._launch(self.ref)
        try:
            pid = await process.load()
            self._note(state="ready", reason="", pid=pid)
            while True:
                batch = await self._in_thread(self._next)
                if batch is None:
                    await asyncio.sleep(self._poll_s)
                else:
                    await self._answer(process, batch)
        finally:
            process.stop()
            self._note(pid=None)

    async def _answer(self, process: ShadowProcess, batch: _Batch) -> None:
        """Have one batch answered and kept.

        A process that dies with a batch gets half of it next time, until the payload that
        kills it stands alone; that one is given up.
        """
        answers: dict[str, list[float] | None] = dict.fromkeys(batch.payloads)
        known = {i: payload for i, payload in batch.payloads.items() if payload is not None}
        try:
            if known:
                predicted = await process.predict(list(known.values()))
                answers.update(zip(known, predicted, strict=True))
        except ShadowLostError:
            if len(batch.payloads) == 1:
                await self._keep(batch, answers)
            self._limit = max(1, len(batch.payloads) // 2)
            raise
        self._limit = min(2 * self._limit, BATCH_PAYLOADS)
        await self._keep(batch, answers)

    async def _keep(self, batch: _Batch, answers: dict[str, list[float] | None]) -> None:
        await self._in_thread(
            lambda: self._judgements.record_shadow(
                self.ref.model,
                self.ref.version,
                answers,
                reader=self.ref.reader,
                position=batch.last_seq,
            )
        )
        failed = sum(answer is None for answer in answers.values())
        answered = self.status.answered + len(answers) - failed
        self._note(answered=answered, failed=self.status.failed + failed)

    def _next(self) -> _Batch | None:
        """Read the next captured requests and their payloads; None if there are none."""
        position = self._judgements.position(self.ref.reader)
        waiting = self._judgements.captured_after(
            position, self.ref.model, since_ns=self.ref.since_ns, limit=self._limit
        )
        if not waiting:
            return None
        found = self._evidence.read(
            since_ns=min(arrived_ns for _, _, arrived_ns in waiting),
            ids=[prediction for _, prediction, _ in waiting],
            model=self.ref.model,
        )
        kept = {decision.prediction_id: decision.payload for _, decision in found}
        payloads: dict[str, bytes | None] = {}
        size = last_seq = 0
        for seq, prediction, _ in waiting:
            payload = kept.get(prediction)
            body = None if payload is None else msgspec.msgpack.encode(payload)
            size += len(body or b"")
            if payloads and size > BATCH_BYTES:
                break
            payloads[prediction] = body
            last_seq = seq
        return _Batch(payloads, last_seq)

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def _note(self, **changes: object) -> None:
        self.status = replace(self.status, **changes)  # type: ignore[arg-type]
