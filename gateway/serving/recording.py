"""Step 10: one decision record per request, made after the answer has gone out."""

import time
from collections.abc import Mapping
from typing import Any

import orjson
from numpy.typing import NDArray

from gateway.errors import GatewayError
from gateway.record.decision import (
    JUDGED_ROWS_MAX,
    SCHEMA,
    Decision,
    Payload,
    Stages,
    Tensor,
    encode,
)
from gateway.record.ids import new_trace
from gateway.record.journal import GroupCommitter
from gateway.serving.codec import DATATYPES, to_bytes
from gateway.serving.explored import exploration_of
from gateway.serving.item import Judged
from gateway.serving.progress import Answer, Progress
from gateway.serving.statistics import Statistics
from gateway.serving.verdicts import Verdicts
from guards.verdict import Action


class Arrival:
    """What is known of a request before anything of it is read."""

    __slots__ = ("arrived_ns", "request_id", "traceparent", "tracestate", "wall_ns")

    def __init__(
        self,
        request_id: str,
        *,
        traceparent: bytes,
        tracestate: bytes,
        at_ns: tuple[int, int] | None = None,
    ) -> None:
        """Note it.

        Args:
            request_id: The client's name for it, or ours.
            traceparent: As it came.
            tracestate: As it came.
            at_ns: Unix and monotonic, when it arrived; None: now.
        """
        self.request_id = request_id
        self.traceparent = traceparent
        self.tracestate = tracestate
        self.wall_ns, self.arrived_ns = at_ns or (time.time_ns(), time.perf_counter_ns())


class Recording:
    """Turns what happened to a request into counts, and a record in the journal."""

    def __init__(self, journal: GroupCommitter, model: str, statistics: Statistics) -> None:
        self._journal = journal
        self._model = model
        self._statistics = statistics

    def record(
        self,
        arrival: Arrival,
        prediction_id: str,
        progress: Progress,
        *,
        answer: Answer | None,
        error: GatewayError | None,
    ) -> None:
        """Write one record; exactly one of ``answer`` and ``error`` is given."""
        finished_ns = time.perf_counter_ns()
        self._count(arrival, progress, finished_ns, answer=None if error is not None else answer)
        item, judged = progress.item, progress.judged
        version = answer.version if answer is not None else progress.version
        verdicts = answer.verdicts if answer is not None else _verdicts(progress)
        reasons = verdicts.reasons()
        trace = new_trace(prediction_id, arrival.traceparent, tracestate=arrival.tracestate)
        share = version.manifest.capture.share if version is not None else 0.0
        captured = answer is not None and _is_captured(prediction_id, share)
        self._journal.append(
            encode(
                Decision(
                    schema=SCHEMA,
                    prediction_id=prediction_id,
                    request_id=arrival.request_id,
                    trace_id=trace.trace_id,
                    span_id=trace.span_id,
                    parent_id=trace.parent_id,
                    parent_sampled=trace.parent_sampled,
                    tracestate=trace.tracestate,
                    model=self._model,
                    version=version.ref.version if version is not None else "",
                    digest=version.ref.digest if version is not None else "",
                    revision=progress.view.table.revision if progress.view is not None else 0,
                    arrived_ns=arrival.wall_ns,
                    stages=_stages(arrival.arrived_ns, progress.decoded_ns, judged, finished_ns),
                    budget_ns=progress.budget_ns,
                    rows=item.rows if item is not None else 0,
                    batch_rows=judged.stamps.batch_rows if judged is not None else 0,
                    status=200 if error is None else error.status,
                    code="" if error is None else error.code,
                    served_by="" if answer is None else answer.served_by,
                    fallback_reason=progress.fallback_reason,
                    flagged=verdicts.flagged,
                    rejected=verdicts.count(Action.REJECT),
                    p_values=_bounded(None if judged is None else judged.p_values),
                    reasons=orjson.dumps(reasons, option=orjson.OPT_NON_STR_KEYS).decode()
                    if reasons
                    else "",
                    predicted=_bounded(None if answer is None else answer.predicted),
                    exploration=None
                    if answer is None
                    else exploration_of(answer.verdicts.decided, answer.version.chooser),
                    capture_share=share,
                    payload=_payload(progress, answer) if captured else None,
                    skipped_guards=verdicts.skipped_guards,
                    failed_guards=verdicts.failed_guards,
                    abstained=verdicts.abstained,
                    cache_age_ns=0 if answer is None else answer.cache_age_ns,
                )
            )
        )

    def _count(
        self, arrival: Arrival, progress: Progress, finished_ns: int, *, answer: Answer | None
    ) -> None:
        """Count the request for the version that answered, or was asked; see `Statistics`."""
        if answer is None:
            if progress.version is not None:
                self._statistics.count_failure(
                    progress.version.ref.version,
                    wall_ns=arrival.wall_ns,
                    duration_ns=finished_ns - arrival.arrived_ns,
                )
            return
        assert progress.item is not None
        own = progress.judged if progress.fallback is None else None
        self._statistics.count_answer(
            answer.version.ref.version,
            progress.item.rows,
            wall_ns=arrival.wall_ns,
            arrived_ns=arrival.arrived_ns,
            decoded_ns=progress.decoded_ns,
            finished_ns=finished_ns,
            stamps=None if own is None else own.stamps,
        )


def _verdicts(progress: Progress) -> Verdicts:
    rows = progress.item.rows if progress.item is not None else 0
    return Verdicts(progress.judged, rows, None)


def _stages(arrived_ns: int, decoded_ns: int, judged: Judged | None, finished_ns: int) -> Stages:
    def since(stamp_ns: int) -> int:
        return stamp_ns - arrived_ns if stamp_ns else 0

    if judged is None:
        return Stages(decoded_ns=since(decoded_ns), finished_ns=since(finished_ns))
    stamps = judged.stamps
    return Stages(
        since(decoded_ns),
        since(stamps.dequeued_ns),
        since(stamps.guarded_ns),
        since(stamps.inferred_ns),
        since(stamps.explored_ns),
        since(finished_ns),
    )


def _bounded(values: NDArray[Any] | None) -> tuple[float, ...]:
    return () if values is None else tuple(values[:JUDGED_ROWS_MAX].tolist())


def _is_captured(prediction_id: str, share: float) -> bool:
    """Decide from the prediction id, so that a repeated request is captured again or not again."""
    return share >= 1.0 or int(prediction_id[:8], 16) < share * 2**32


def _payload(progress: Progress, answer: Answer | None) -> Payload | None:
    """Keep what came in and the model's own outputs; redacted inputs never leave the replica."""
    item, version = progress.item, progress.version
    if item is None or version is None or answer is None:
        return None
    redacted = version.manifest.capture.redact
    kept = {name: array for name, array in item.inputs.items() if name not in redacted}
    source = progress.fallback if progress.fallback is not None else progress.judged
    own = source.outputs if source is not None else None
    return Payload(_tensors(kept), _tensors(own or {}))


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(name, DATATYPES[array.dtype], array.shape, to_bytes(array))
        for name, array in arrays.items()
    )
