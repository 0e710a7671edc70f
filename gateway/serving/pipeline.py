"""THE REQUEST PATH: what happens to one request between the wire and the wire.

Step 1 (route) happened in HAProxy, steps 9 and 10 (answer, record) follow in
`ingress`; steps 4 to 8 run on the micro-batch, in `microbatch`.
"""

import asyncio
import time
from collections.abc import Callable, Mapping

from gateway.errors import (
    BadRequestError,
    BreakerOpenError,
    DeadlineError,
    GatewayError,
    NothingToServeError,
    ShedError,
    SuspectError,
    UnansweredError,
)
from gateway.registry.routing import RoutingTable
from gateway.serving.admission import Admission
from gateway.serving.assembling import assemble
from gateway.serving.batcher import Batcher
from gateway.serving.breaker import Breakers, Call
from gateway.serving.decoding import decode, model_budget_ns
from gateway.serving.fingerprint import Fingerprints
from gateway.serving.item import Item, Judged
from gateway.serving.ladder import Ladder
from gateway.serving.progress import Answer, Progress, Request
from gateway.serving.rejection import is_about_the_rows, rejection_of
from gateway.serving.suspects import Suspects
from gateway.serving.versions import LoadedVersion, Versions

SLOW = 0.7  # of the model's budget, used up by one batch alone: the ladder has part of the rest
_FALLBACK_REASONS: Mapping[type[GatewayError], str] = {
    ShedError: "queue_full",
    BreakerOpenError: "breaker_open",
    SuspectError: "crash_suspect",
}


class Pipeline:
    """Takes a request through admission, guards, model, ladder and exploration."""

    def __init__(
        self,
        versions: Versions,
        batcher: Batcher,
        admission: Admission,
        ladder: Ladder,
        breakers: Breakers,
        *,
        fingerprints: Fingerprints,
        suspects: Suspects | None = None,
        now_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._versions = versions
        self._batcher = batcher
        self._admission = admission
        self._ladder = ladder
        self._breakers = breakers
        self._fingerprints = fingerprints
        self._suspects = suspects  # None: nobody keeps track of deaths
        self._examining: asyncio.Future[None] | None = None  # held, or it would be collected
        self._now_ns = now_ns

    async def infer(self, request: Request, progress: Progress) -> Answer:
        """Answer one request, or raise the reason it has no answer.

        Args:
            request: As it came in.
            progress: Filled in on the way; also when this raises.

        Raises:
            GatewayError: one of the reasons of `gateway.errors`.
        """
        view = progress.view = self._versions.view
        version = progress.version = view.version(request.version)
        item, deadline_ns = decode(
            request, version, progress, fingerprints=self._fingerprints, now_ns=self._now_ns
        )
        try:
            if self._suspects is not None:
                item = progress.item = self._suspects.set_apart(item)
            judged = await self._ask_model(request, progress, item, deadline_ns)
        except (ShedError, BreakerOpenError, SuspectError) as refusal:
            reason = _FALLBACK_REASONS[type(refusal)]
            return await self._fall_back(reason, progress, deadline_ns, instead=refusal)
        progress.judged = judged
        if judged is None:
            return await self._fall_back(self._why_late(), progress, deadline_ns)
        if judged.is_rejected:
            raise rejection_of(judged)
        if judged.stop == "not_text":
            problem = "inputs: the model takes text, and an element of BYTES is not UTF-8"
            raise BadRequestError(problem, code="not_text")
        if judged.stop == "nothing_to_serve":
            raise NothingToServeError
        if judged.stop:
            return await self._fall_back(judged.stop, progress, deadline_ns)
        self._ladder.remember(version, item, judged)
        return assemble(progress, left_ns=deadline_ns - self._now_ns())

    async def _ask_model(
        self, request: Request, progress: Progress, item: Item, deadline_ns: int
    ) -> Judged | None:
        """Wait for the model's own answer, as long as the ladder still has time after it.

        Raises:
            BreakerOpenError: the model is left alone.
            ShedError: there would be no answer in time.
            ClientGoneError: nobody waits any more.
        """
        view, version, envelope = progress.view, progress.version, progress.envelope
        assert view is not None
        assert version is not None
        assert envelope is not None
        reserve_ns = self._ladder.reserve_ns(
            view, version, rows=item.rows, budget_ns=progress.budget_ns
        )
        give_up_ns = deadline_ns - reserve_ns
        left_ns = give_up_ns - self._now_ns()
        if left_ns <= 0:
            return None
        breaker = self._breakers.of(version.ref.digest, model=version.manifest.name)
        with (
            breaker.call() as call,
            self._admission.admit(
                version,
                rows=item.rows,
                left_ns=left_ns,
                priority=envelope.priority,
            ),
        ):
            judged = await self._batcher.submit(
                version, view.table, item, give_up_ns, gone=request.gone
            )
            self._tell(call, judged, version)
        if call.has_opened:
            probe = breaker.probe_now()
            self._examining = asyncio.ensure_future(self._examine(probe, version, view.table))
        if item.is_alone and self._suspects is not None and _came_through(judged):
            asyncio.get_running_loop().run_in_executor(
                None, self._suspects.acquit, item.fingerprint
            )
        return judged

    def _tell(self, call: Call, judged: Judged | None, version: LoadedVersion) -> None:
        """Tell the breaker how the model did; waiting too long is none of the model's doing."""
        most_ns = model_budget_ns(version)
        if judged is None:
            running = self._batcher.running()
            if running is not None and running[0] is version and running[1] > SLOW * most_ns:
                call.failed()
        elif judged.stop == "model_error" or judged.is_nonfinite:
            call.failed()
        elif judged.has_answer:
            is_slow = judged.stamps.is_whole and judged.stamps.model_ns > most_ns
            call.failed() if is_slow else call.succeeded()

    async def _examine(self, probe: Call, version: LoadedVersion, table: RoutingTable) -> None:
        """Ask a model that failed too often about a row that it is known to answer.

        If it does, what it was asked is to blame, and nobody else has to do without the model
        because of it.
        """
        deadline_ns = self._now_ns() + model_budget_ns(version)
        # As a rung's: guards have nothing to say about it, and nothing is drawn.
        inputs = dict(version.golden)
        item = Item("", inputs, 1, self._fingerprints.of(inputs), is_fallback=True, is_alone=True)
        with probe:
            judged = await self._batcher.submit(version, table, item, deadline_ns)
            self._tell(probe, judged, version)

    def _why_late(self) -> str:
        """Tell a thread that hangs from one that is merely busy."""
        running = self._batcher.running()
        is_hung = running is not None and running[1] > 2 * model_budget_ns(running[0])
        return "hung" if is_hung else "deadline"

    async def _fall_back(
        self,
        reason: str,
        progress: Progress,
        deadline_ns: int,
        *,
        instead: GatewayError | None = None,
    ) -> Answer:
        """Answer from the ladder, or raise ``instead``, or what was tried."""
        view, version, item = progress.view, progress.version, progress.item
        assert view is not None
        assert version is not None
        assert item is not None
        progress.fallback_reason = reason
        fallback, tried = await self._ladder.descend(
            view, version, item, deadline_ns, reason=reason
        )
        if fallback is None:
            if instead is not None:
                raise instead
            if progress.judged is not None and is_about_the_rows(progress.judged):
                raise rejection_of(progress.judged)
            tried = ["model", *tried]
            if reason in ("deadline", "hung"):
                raise DeadlineError(version.manifest.name, tried)
            raise UnansweredError(version.manifest.name, reason, tried)
        progress.fallback = fallback
        return assemble(progress, left_ns=deadline_ns - self._now_ns())


def _came_through(judged: Judged | None) -> bool:
    """Whether the model has been asked, and is done with it; a cut-off call proves nothing."""
    return judged is not None and (judged.has_answer or judged.stop == "model_error")
