"""Decision records as OpenTelemetry spans, after the fact.

The replica draws no spans: creating and exporting them costs it ~100 us of GIL per
request.  Here they are real SDK spans, made through public extension points only: an
`IdGenerator` that returns the ids of the record, a `Sampler` that has already decided,
explicit start and end times, and the caller's span as a remote parent.
"""

import os
from collections.abc import Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision as Sampling
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.util.types import Attributes, AttributeValue

from gateway.record.decision import Decision, Stages
from gateway.record.ids import child_span_id
from gateway.record.keep import SHARE, threshold_digits

ROUTE = "/v2/models/{name}/infer"
_ATTRIBUTE_MAX = 256  # characters; some values come from the client
_ROOT = Context()


class _Preset(IdGenerator, Sampler):
    """The ids and the tracestate of the next span; used from one thread."""

    def __init__(self) -> None:
        self.trace_id = 0
        self.span_id = 0
        self.tracestate: TraceState | None = None

    def generate_span_id(self) -> int:
        return self.span_id

    def generate_trace_id(self) -> int:
        return self.trace_id

    def is_trace_id_random(self) -> bool:
        return True  # asked for roots only; ours are hashes

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        return SamplingResult(Sampling.RECORD_AND_SAMPLE, attributes, self.tracestate)

    def get_description(self) -> str:
        return "HandrailKeep"


class SpanReplay:
    """Draws the spans of kept records and hands them to the processors.  Used from one thread."""

    def __init__(self, processors: Sequence[SpanProcessor], *, trace_share: float) -> None:
        self._preset = _Preset()
        share_state = f"th:{threshold_digits(trace_share)}" if trace_share > 0 else ""
        self._share_state = TraceState([("ot", share_state)]) if share_state else None
        provider = TracerProvider(
            sampler=self._preset,
            id_generator=self._preset,
            resource=Resource.create(_resource(os.environ)),
            span_limits=SpanLimits(max_attribute_length=_ATTRIBUTE_MAX),
            shutdown_on_exit=False,
        )
        for processor in processors:
            provider.add_span_processor(processor)
        self._tracer = provider.get_tracer("handrail")

    def draw(self, decision: Decision, keep_reason: str) -> None:
        """Draw the SERVER span of a request, with a child for every stage that ran."""
        server = self._start_server(decision, keep_reason)
        within = set_span_in_context(server, _ROOT)
        for name, began_ns, ended_ns in stage_times(decision.stages):
            self._preset.span_id = int(child_span_id(decision.span_id, name), 16)
            child = self._tracer.start_span(
                name, context=within, start_time=decision.arrived_ns + began_ns
            )
            child.end(end_time=decision.arrived_ns + ended_ns)
        if decision.status >= 500:
            server.set_status(Status(StatusCode.ERROR))
        server.end(end_time=decision.finished_unix_ns)

    def _start_server(self, decision: Decision, keep_reason: str) -> Span:
        self._preset.trace_id = int(decision.trace_id, 16)
        self._preset.span_id = int(decision.span_id, 16)
        if keep_reason == SHARE:  # the only draw whose probability is known: say so
            self._preset.tracestate = self._share_state
        else:
            self._preset.tracestate = TraceState.from_header([decision.tracestate])
        return self._tracer.start_span(
            f"POST {ROUTE}",
            context=_caller(decision, self._preset.tracestate),
            kind=SpanKind.SERVER,
            attributes=attributes(decision, keep_reason),
            start_time=decision.arrived_ns,
        )


def stage_times(stages: Stages) -> list[tuple[str, int, int]]:
    """Name the stages that ran, with begin and end in ns after arrival."""
    times = []
    began_ns = stages.decoded_ns
    for name, ended_ns in (
        ("queue", stages.dequeued_ns),
        ("guards", stages.guarded_ns),
        ("infer", stages.inferred_ns),
        ("explore", stages.explored_ns),
    ):
        if ended_ns:
            times.append((name, began_ns, ended_ns))
            began_ns = ended_ns
    return times


def attributes(decision: Decision, keep_reason: str) -> dict[str, AttributeValue]:
    """Describe the request: HTTP semantic conventions, the rest under ``handrail.``."""
    described: dict[str, AttributeValue] = {
        "http.request.method": "POST",
        "http.route": ROUTE,
        "http.response.status_code": decision.status,
        "url.path": f"/v2/models/{decision.model}/infer",
        "handrail.model.name": decision.model,
        "handrail.model.version": decision.version,
        "handrail.prediction.id": decision.prediction_id,
        "handrail.evidence.ref": decision.evidence_ref,
        "handrail.keep.reason": keep_reason,
        "handrail.rows": decision.rows,
        "handrail.batch.size": decision.batch_rows,
        "handrail.budget_ns": decision.budget_ns,
        "handrail.budget.used_ratio": decision.stages.finished_ns / max(decision.budget_ns, 1),
        "handrail.explored": decision.exploration is not None and decision.exploration.changed,
        "handrail.shadow.sampled": decision.payload is not None,
        "handrail.shadow.probability": decision.capture_share,
    }
    described.update({name: value for name, value in _occasional(decision) if value})
    if decision.p_values:
        described["handrail.ood.p_value"] = min(decision.p_values)
    if decision.exploration is not None and decision.exploration.propensity:
        described["handrail.propensity"] = min(decision.exploration.propensity)
    return described


def _occasional(decision: Decision) -> tuple[tuple[str, AttributeValue], ...]:
    """List what is worth an attribute only where it is set."""
    return (
        ("error.type", decision.code if decision.status >= 500 else ""),
        ("handrail.code", decision.code),
        ("handrail.request.id", decision.request_id),
        ("handrail.served_by", decision.served_by),
        ("handrail.fallback.reason", decision.fallback_reason),
        ("handrail.flagged_rows", decision.flagged),
        ("handrail.rejected_rows", decision.rejected),
        ("handrail.skipped_guards", decision.skipped_guards),
        ("handrail.cache_age_ns", decision.cache_age_ns),
        ("handrail.failed_guards", decision.failed_guards),
        ("handrail.abstained_rows", decision.abstained),
    )


def _caller(decision: Decision, tracestate: TraceState | None) -> Context:
    if not decision.parent_id:
        return _ROOT
    parent = SpanContext(
        int(decision.trace_id, 16),
        int(decision.parent_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if decision.parent_sampled else 0),
        trace_state=tracestate,
    )
    return set_span_in_context(NonRecordingSpan(parent), _ROOT)


def _resource(environ: Mapping[str, str]) -> dict[str, AttributeValue]:
    """Name the service, unless ``OTEL_SERVICE_NAME`` or the resource attributes do."""
    named = "OTEL_SERVICE_NAME" in environ or "service.name=" in environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    return {} if named else {SERVICE_NAME: "handrail"}
