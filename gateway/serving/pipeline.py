"""THE REQUEST PATH: what happens to one request between the wire and the wire.

Step 1 (route) happened in HAProxy, steps 9 and 10 (answer, record) follow in
`ingress`; steps 4 to 8 run on the micro-batch, in `microbatch`.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.errors import (
    BadRequestError,
    BreakerOpenError,
    DeadlineError,
    GatewayError,
    NothingToServeError,
    RejectedError,
    ShedError,
    SuspectError,
    UnansweredError,
)
from gateway.registry.routing import RoutingTable
from gateway.serving.admission import Admission
from gateway.serving.batcher import Batcher, Gone
from gateway.serving.breaker import Breakers, Call
from gateway.serving.certainty import Certainty
from gateway.serving.chain import GUARD_FAILED
from gateway.serving.chooser import Decided
from gateway.serving.codec import decode_inputs
from gateway.serving.deadline import NS_PER_MS, budget_ns
from gateway.serving.fingerprint import Fingerprints
from gateway.serving.ladder import Fallback, Ladder
from gateway.serving.microbatch import Item, Judged
from gateway.serving.protocol import Envelope
from gateway.serving.requested import (
    asked_of_choice,
    check_counts,
    check_outputs,
    pick_outputs,
)
from gateway.serving.suspects import Suspects
from gateway.serving.verdicts import Verdicts
from gateway.serving.versions import LoadedVersion, Versions, View
from guards.outlier.explain import COMPARISONS
from guards.output.faults import CONFIDENCE as UNSURE
from models.manifest import Signature

SLOW = 0.7  # of the model's budget, used up by one batch alone: the ladder has part of the rest
_FALLBACK_REASONS: Mapping[type[GatewayError], str] = {
    ShedError: "queue_full",
    BreakerOpenError: "breaker_open",
    SuspectError: "crash_suspect",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One inference request as it came off the wire."""

    prediction_id: str
    parse: Callable[[Signature], Envelope]  # its body, however it is written
    version: str | None  # asked for in the path
    timeout_ms: bytes | None
    arrived_ns: int  # monotonic
    gone: Gone  # returns when the client has closed the connection; awaited only while it waits


@dataclass(slots=True)
class Progress:
    """How far a request has come; filled in on the way, and what the record is made from."""

    view: View | None = None
    version: LoadedVersion | None = None
    envelope: Envelope | None = None
    item: Item | None = None
    budget_ns: int = 0
    decoded_ns: int = 0  # monotonic
    judged: Judged | None = None
    fallback: Fallback | None = None
    fallback_reason: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the client."""

    envelope: Envelope
    version: LoadedVersion  # that answered
    outputs: dict[str, NDArray[Any]]  # in the order they go out
    predicted: NDArray[Any]
    served_by: str
    fallback_reason: str
    verdicts: Verdicts
    left_ns: int
    cache_age_ns: int = 0  # of the answer that `fallback:cache` repeats

    @property
    def skipped_guards(self) -> tuple[str, ...]:
        """Guards for which there was no time."""
        return self.verdicts.skipped_guards


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
        item, deadline_ns = self._decode(request, version, progress)
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
            raise _rejection(judged)
        if judged.stop == "not_text":
            problem = "inputs: the model takes text, and an element of BYTES is not UTF-8"
            raise BadRequestError(problem, code="not_text")
        if judged.stop == "nothing_to_serve":
            raise NothingToServeError
        if judged.stop:
            return await self._fall_back(judged.stop, progress, deadline_ns)
        self._ladder.remember(version, item, judged)
        return self._answer(progress, deadline_ns)

    def _decode(
        self, request: Request, version: LoadedVersion, progress: Progress
    ) -> tuple[Item, int]:
        """Fix the deadline and turn the body into arrays."""
        cap_ns = _model_budget_ns(version)
        progress.budget_ns = cap_ns
        envelope = progress.envelope = request.parse(version.manifest.signature)
        budget = budget_ns(envelope.parameters.get("timeout", 0), request.timeout_ms, cap_ns=cap_ns)
        progress.budget_ns = budget
        check_outputs(envelope, version)
        inputs, rows = decode_inputs(envelope, version.manifest.signature)
        check_counts(envelope, version, rows)
        fingerprint = self._fingerprints.of(inputs)
        asked = asked_of_choice(envelope, version, fingerprint)
        item = Item(request.prediction_id, inputs, rows, fingerprint, asked=asked)
        progress.item = item
        progress.decoded_ns = self._now_ns()
        return item, request.arrived_ns + budget

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
        if item.is_alone and judged is not None and self._suspects is not None:
            asyncio.get_running_loop().run_in_executor(
                None, self._suspects.acquit, item.fingerprint
            )
        return judged

    def _tell(self, call: Call, judged: Judged | None, version: LoadedVersion) -> None:
        """Tell the breaker how the model did; waiting too long is none of the model's doing."""
        most_ns = _model_budget_ns(version)
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
        deadline_ns = self._now_ns() + _model_budget_ns(version)
        # As a rung's: guards have nothing to say about it, and nothing is drawn.
        inputs = dict(version.golden)
        item = Item("", inputs, 1, self._fingerprints.of(inputs), is_fallback=True, is_alone=True)
        with probe:
            judged = await self._batcher.submit(version, table, item, deadline_ns)
            self._tell(probe, judged, version)

    def _why_late(self) -> str:
        """Tell a thread that hangs from one that is merely busy."""
        running = self._batcher.running()
        is_hung = running is not None and running[1] > 2 * _model_budget_ns(running[0])
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
            if progress.judged is not None and _is_about_the_rows(progress.judged):
                raise _rejection(progress.judged)
            tried = ["model", *tried]
            if reason in ("deadline", "hung"):
                raise DeadlineError(version.manifest.name, tried)
            raise UnansweredError(version.manifest.name, reason, tried)
        progress.fallback = fallback
        return self._answer(progress, deadline_ns)

    def _answer(self, progress: Progress, deadline_ns: int) -> Answer:
        """Put together what goes out: outputs in the requested order, provenance, verdicts."""
        envelope, version, item = progress.envelope, progress.version, progress.item
        judged, fallback = progress.judged, progress.fallback
        assert envelope is not None
        assert version is not None
        assert item is not None
        if fallback is not None:
            outputs, classes, version = fallback.outputs, fallback.predicted, fallback.version
            decided = _greedily(version, item, outputs)
        else:
            assert judged is not None
            assert judged.outputs is not None
            assert judged.predicted is not None
            outputs, classes, decided = judged.outputs, judged.predicted, judged.decided
        verdicts = Verdicts(judged, item.rows, decided, certainty=_certainty(progress))
        return Answer(
            envelope=envelope,
            version=version,
            outputs=pick_outputs(outputs, envelope, verdicts),
            predicted=classes,
            served_by="model" if fallback is None else fallback.served_by,
            fallback_reason=progress.fallback_reason,
            verdicts=verdicts,
            left_ns=deadline_ns - self._now_ns(),
            cache_age_ns=0 if fallback is None else fallback.cache_age_ns,
        )


def _model_budget_ns(version: LoadedVersion) -> int:
    return int(version.manifest.expectations.latency_ms * NS_PER_MS)


def _greedily(
    version: LoadedVersion, item: Item, outputs: dict[str, NDArray[Any]]
) -> Decided | None:
    """Choose from the answer of a rung; it is never explored.

    Raises:
        NothingToServeError: no candidate may be served.
    """
    if version.chooser is None:
        return None
    part = version.chooser.part(
        item.prediction_id, item.asked, item.inputs, outputs, guarded=None, closed="fallback"
    )
    if part is None:
        raise NothingToServeError
    return version.chooser.choose([part])[0]


def _certainty(progress: Progress) -> Certainty:
    """Read the answer of the version that was asked; of another's nothing is known."""
    version, item, judged = progress.version, progress.item, progress.judged
    assert version is not None
    assert item is not None
    answers = None
    if progress.fallback is None and judged is not None and judged.outputs is not None:
        answers = judged.outputs[version.judged_output.name]
    return Certainty(version.chain.output, answers, item.rows)


def _is_about_the_rows(judged: Judged) -> bool:
    """Whether what stopped a request was no failure of the model's.

    Strange rows, rows the model abstains from and a guard that fails closed have nothing to fall
    back on then; that is the answer, and no error of the server.
    """
    kinds = {
        reason.kind
        for verdict in judged.verdicts
        if verdict.guard == judged.stop
        for why in verdict.reasons.values()
        for reason in why
    }
    return bool(kinds) and (judged.stop != "output" or kinds <= {GUARD_FAILED, UNSURE})


def _rejection(judged: Judged) -> RejectedError:
    """Name the guard, the rows and the kinds, never the values."""
    verdict = next(v for v in judged.verdicts if v.guard == judged.stop)
    rows = np.flatnonzero(verdict.actions == verdict.actions.max()).tolist()
    told = {reason.kind for row in rows for reason in verdict.reasons.get(row, ())}
    kinds = sorted(told - COMPARISONS)
    return RejectedError(judged.stop, rows, kinds)
