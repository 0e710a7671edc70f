"""Prometheus metrics, computed from every record: exact sums, and no cost to the replica.

Labels come from closed sets only.  Exemplars point at requests that left a trace.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from gateway.record.decision import Decision
from gateway.record.expectation_signal import (
    NO_EXPECTATIONS,
    ExpectationBook,
    ExpectationMetrics,
)
from gateway.record.keep import REASONS
from gateway.record.loop_signal import NO_LOOPS, LoopBook, LoopMetrics
from gateway.record.traffic import DriftSignal
from guards.explore.gate import REASONS as UNEXPLORED

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_USED = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.5, 2.0, 4.0)  # exact where the budget ends
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_VERSION = ("model", "version")
_MONITOR = (*_VERSION, "monitor")
_FALLBACK_REASONS = frozenset(
    {
        "deadline", "queue_full", "model_error", "output", "outlier", "schema", "breaker_open",
        "crash_suspect", "hung", "no_replica",
    }
)  # fmt: skip
_GUARDS = frozenset({"schema", "outlier", "output"})  # those of `guards.catalog`
OTHER = "other"
CANCELLED = 499  # the client left before it had its answer
QUARANTINED = "request_quarantined"
_log = logging.getLogger(__name__)


def outcome(decision: Decision) -> str:
    """Name how the request ended: one of eleven words."""
    if decision.status >= 500:
        return {"shed": "shed", "deadline_exceeded": "deadline"}.get(decision.code, "error")
    if decision.status == CANCELLED:
        return "cancelled"
    if decision.code == QUARANTINED:
        return "quarantined"
    if decision.status >= 400:
        return "rejected" if decision.rejected else "bad_request"
    kind = decision.served_by.partition(":")[0]
    return kind if kind in ("model", "canary", "fallback") else OTHER


@dataclass(frozen=True)
class _Family:
    """The metrics of one version, their labels already resolved."""

    requests: Callable[[str], Counter]  # by outcome
    fallbacks: Callable[[str], Counter]  # by reason
    duration: Histogram
    queue: Histogram
    compute: Histogram
    used: Histogram
    batch_rows: Histogram
    flagged: Counter
    rejected: Counter
    abstained: Counter
    guard_failures: Callable[[str], Counter]  # by guard
    explored: Counter
    unexplored: Callable[[str], Counter]


class Metrics:
    """All metrics of one recorder, in a registry of their own."""

    def __init__(
        self,
        *,
        lag_s: Callable[[], float],
        loops: LoopBook = NO_LOOPS,
        expectations: ExpectationBook = NO_EXPECTATIONS,
    ) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(LoopMetrics(loops))
        self.registry.register(ExpectationMetrics(expectations))
        self._families: dict[tuple[str, str], _Family] = {}
        self._instruments = _Instruments.register(self.registry)
        instruments = self._instruments
        instruments.lag.set_function(lag_s)
        for reason in REASONS:  # a counter that appears only with its first event hides that event
            instruments.kept.labels(reason)
            instruments.suppressed.labels(reason)

    def observe(self, decision: Decision, *, kept: bool) -> None:
        """Count one request; ``kept`` says whether an exemplar may point at its trace."""
        family = self._family(decision)
        stages = decision.stages
        trace = {"trace_id": decision.trace_id, "span_id": decision.span_id} if kept else None
        took_s = stages.finished_ns / 1e9
        family.requests(outcome(decision)).inc()
        family.duration.observe(took_s, trace)
        family.used.observe(stages.finished_ns / max(decision.budget_ns, 1), trace)
        if decision.batch_rows:
            family.queue.observe((stages.dequeued_ns - stages.decoded_ns) / 1e9)
            family.batch_rows.observe(decision.batch_rows)
        if stages.inferred_ns:
            began_ns = stages.guarded_ns or stages.dequeued_ns or stages.decoded_ns
            family.compute.observe((stages.inferred_ns - began_ns) / 1e9)
        if decision.served_by.startswith("fallback"):
            reason = decision.fallback_reason
            family.fallbacks(reason if reason in _FALLBACK_REASONS else OTHER).inc()
        if decision.flagged:
            family.flagged.inc(decision.flagged)
        if decision.rejected:
            family.rejected.inc(decision.rejected)
        if decision.abstained:
            family.abstained.inc(decision.abstained)
        for guard in decision.failed_guards:
            family.guard_failures(guard if guard in _GUARDS else OTHER).inc()
        if decision.exploration is not None and decision.exploration.changed:
            family.explored.inc()
        if decision.exploration is not None:
            for why in filter(None, decision.exploration.closed):
                family.unexplored(why if why in UNEXPLORED else OTHER).inc()

    def keep(self, reason: str) -> None:
        """Count a request that left a trace."""
        self._instruments.kept.labels(reason).inc()

    def suppress(self, reason: str, requests: int) -> None:
        """Count requests that would have left a trace, had their reason not been capped."""
        self._instruments.suppressed.labels(reason).inc(requests)

    def settle_spans(self, outlet: str, fate: str, spans: int) -> None:
        """Count spans exported or dropped; called from the exporting threads."""
        if fate == "exported":
            self._instruments.exported.labels(outlet).inc(spans)
        else:
            self._instruments.dropped.labels(outlet, fate).inc(spans)

    def show_drift(self, signals: Sequence[DriftSignal]) -> None:
        """Show what the monitors of drift say."""
        for signal in signals:
            labels = (signal.model, signal.version, signal.monitor)
            self._instruments.drift_evidence.labels(*labels).set(signal.log_evidence)
            self._instruments.drift_threshold.labels(*labels).set(signal.log_threshold)
            self._instruments.drift_alarm.labels(*labels).set(signal.alarm)

    def add_rows(self, rows: int) -> None:
        """Count rows committed to the evidence."""
        self._instruments.rows.inc(rows)

    def fail(self, what: str) -> None:
        """Count a failure: cycle, record, segment, maintenance, watch, traffic or span."""
        self._instruments.failures.labels(what).inc()

    def bury(self, model: str, cause: str, *, quarantined: int) -> None:
        """Count a replica that died at work, and the inputs that its death quarantines."""
        self._instruments.deaths.labels(model, cause).inc()
        self._instruments.quarantined.labels(model).inc(quarantined)

    def _family(self, decision: Decision) -> _Family:
        key = (decision.model, decision.version)
        if (family := self._families.get(key)) is None:
            family = self._families[key] = self._instruments.resolve(*key)
            self._instruments.info.labels(*key, decision.digest).set(1)
        return family


@dataclass(frozen=True)
class _Instruments:
    """Every metric there is, named once."""

    requests: Counter
    fallbacks: Counter
    duration: Histogram
    queue: Histogram
    compute: Histogram
    used: Histogram
    batch_rows: Histogram
    flagged: Counter
    rejected: Counter
    abstained: Counter
    guard_failures: Counter
    explored: Counter
    unexplored: Counter
    info: Gauge
    kept: Counter
    suppressed: Counter
    exported: Counter
    dropped: Counter
    rows: Counter
    failures: Counter
    deaths: Counter
    quarantined: Counter
    lag: Gauge
    drift_evidence: Gauge
    drift_threshold: Gauge
    drift_alarm: Gauge

    @classmethod
    def register(cls, registry: CollectorRegistry) -> Self:
        """Make them all, in ``registry``."""
        counter = partial(Counter, namespace="handrail", registry=registry)
        gauge = partial(Gauge, namespace="handrail", registry=registry)
        histogram = partial(
            Histogram,
            namespace="handrail",
            registry=registry,
            labelnames=_VERSION,
            buckets=_SECONDS,
        )
        return cls(
            counter("inference_requests", "Requests by how they ended.", (*_VERSION, "outcome")),
            counter("fallbacks", "Answers by a rung of the ladder.", (*_VERSION, "reason")),
            histogram("inference_request_duration_seconds", "From arrival to answer."),
            histogram("queue_duration_seconds", "From decoded to the micro-batch's begin."),
            histogram("compute_duration_seconds", "Model and output guard."),
            histogram("latency_budget_used_ratio", "Share of the budget used.", buckets=_USED),
            histogram("batch_rows", "Rows of the micro-batch a request rode in.", buckets=_ROWS),
            counter("flagged_rows", "Rows that a guard flagged.", _VERSION),
            counter("rejected_rows", "Rows that a guard rejected.", _VERSION),
            counter("abstained_rows", "Rows that the model was not sure enough of.", _VERSION),
            counter("guard_failures", "Requests on which a guard failed.", (*_VERSION, "guard")),
            counter("explored", "Requests served another choice than the model's own.", _VERSION),
            counter("unexplored", "Choices not randomised.", (*_VERSION, "reason")),
            gauge("model_info", "1 for every version seen.", (*_VERSION, "digest")),
            counter("traces_kept", "Requests that left a trace.", ("reason",)),
            counter(
                "traces_suppressed", "Traces not kept, their reason being capped.", ("reason",)
            ),
            counter("spans_exported", "Spans that a backend took.", ("outlet",)),
            counter("spans_dropped", "Spans that no backend will see.", ("outlet", "reason")),
            counter("evidence_rows", "Rows committed to the evidence."),
            counter("recorder_failures", "Things the recorder had to retry or skip.", ("what",)),
            counter(
                "replica_deaths",
                "Replicas that died while they computed: crashed, hung, or ended by others.",
                ("model", "cause"),
            ),
            counter("inputs_quarantined", "Inputs that were there at two deaths.", ("model",)),
            gauge("recorder_lag_seconds", "Age of the oldest answer not yet in the evidence."),
            gauge("drift_evidence_nats", "Evidence of drift, logarithm.", _MONITOR),
            gauge("drift_threshold_nats", "Evidence that raises the alarm, logarithm.", _MONITOR),
            gauge("drift_alarm", "1 while a monitor finds drift.", _MONITOR),
        )

    def resolve(self, model: str, version: str) -> _Family:
        """Look the labels of one version up, once: a lookup costs more than an increment."""
        outcomes: dict[str, Counter] = {}
        reasons: dict[str, Counter] = {}
        guards: dict[str, Counter] = {}

        def labelled(metric: Counter, cache: dict[str, Counter], value: str) -> Counter:
            if value not in cache:
                cache[value] = metric.labels(model, version, value)
            return cache[value]

        return _Family(
            partial(labelled, self.requests, outcomes),
            partial(labelled, self.fallbacks, reasons),
            self.duration.labels(model, version),
            self.queue.labels(model, version),
            self.compute.labels(model, version),
            self.used.labels(model, version),
            self.batch_rows.labels(model, version),
            self.flagged.labels(model, version),
            self.rejected.labels(model, version),
            self.abstained.labels(model, version),
            partial(labelled, self.guard_failures, guards),
            self.explored.labels(model, version),
            partial(labelled, self.unexplored, {}),
        )


class MetricsServer:
    """Serves a registry on loopback, as OpenMetrics to whoever asks for it."""

    def __init__(self, registry: CollectorRegistry, *, port: int) -> None:
        try:
            self._server, self._thread = start_http_server(port, "127.0.0.1", registry)
        except OSError as error:  # records matter more than where their metrics are
            _log.error("metrics port %d is taken (%s): serving on a free one", port, error)
            self._server, self._thread = start_http_server(0, "127.0.0.1", registry)

    @property
    def port(self) -> int:
        """Where the metrics are."""
        return self._server.server_port

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
