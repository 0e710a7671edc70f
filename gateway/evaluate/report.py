"""The report on one model: a pure function of what is stored.

Neither the order in which requests, labels and shadow answers came, nor repetitions, nor
restarts change it: it holds no clock.  Only `FeedbackReport.duplicates` counts repetitions.
"""

from typing import Literal

from sqlalchemy import Connection, Engine

from gateway.evaluate.audit import AuditReport
from gateway.evaluate.cells import Cells, is_answer
from gateway.evaluate.choice_log import window_of
from gateway.evaluate.contest import ContestReport, read_contest
from gateway.evaluate.drift_report import DriftReport, MonitorReport
from gateway.evaluate.expectations import (
    NS_PER_MS,
    Expectation,
    judge_expectations,
    own_rows,
)
from gateway.evaluate.feedback_report import FeedbackReport, read_feedback
from gateway.evaluate.known import Known, judge_known, read_known
from gateway.evaluate.loop_expectations import judge_loop_expectations
from gateway.evaluate.loop_report import LoopReport
from gateway.evaluate.performance import MetricReport
from gateway.evaluate.prior import PriorReport
from gateway.evaluate.quality_report import AlertReport, QualityReport
from gateway.evaluate.tallies import Hits, ShadowTally, read_cells, read_labels, read_shadow
from gateway.registry.database import reading
from gateway.registry.drift import read_findings
from gateway.registry.loop import read_loop
from gateway.registry.quality import read_alerts
from gateway.registry.registry import Registry
from gateway.registry.routing import RoutingTable
from guards.quality.confidence import confidence_sequence
from guards.settings import Settings
from models.prediction import answers_classes
from models.traffic import MONITORED

ALERTS = 20  # told of


class Share(Settings):
    """``hits`` of ``n``, with an interval that stays valid however often one looks."""

    hits: int
    n: int
    estimate: float | None  # None of nothing
    low: float
    high: float


class VersionReport(Settings):
    """What one version did."""

    version: str
    role: Literal["live", "shadow", "previous", "other"]
    requests: int
    answered: int
    rows: int
    served_by: dict[str, int]  # answers
    fallback_reasons: dict[str, float]  # share of the answers
    flagged_share: float | None  # of the rows
    rejected_share: float | None
    explored_share: float | None
    latency_p50_ms: float | None  # of the answers; right to 1 %
    latency_p99_ms: float | None
    accuracy: Share  # of the rows that it answered itself and that have a label
    abstained_share: float | None  # of the rows: the model was not sure enough of them
    unguarded: int  # requests on which a guard failed, and its `on_error` was applied
    strange: Share  # of the rows that the outlier guard judged; also while it may not act


class ShadowReport(Settings):
    """What the shadow would have answered."""

    version: str
    payloads: int  # answered
    failed: int  # payloads it could not answer
    agreement: Share  # of the rows that the live version answered itself
    accuracy: Share  # of the rows that have a label
    contest: ContestReport | None  # with the live version; None where answers are numbers


class Report(Settings):
    """How a model does, and whether it does what it promises."""

    model: str
    revision: int  # of the routing table; 0 without one
    live: str | None
    alpha: float
    requests: int
    rows: int
    unmatched_labels: int  # rows whose prediction is not known, or not yet
    versions: tuple[VersionReport, ...]
    shadow: ShadowReport | None
    expectations: tuple[Expectation, ...]  # of the live version
    drift: DriftReport | None  # of the live version; None before the first tick
    feedback: FeedbackReport | None  # rewards and confirmations; None where no version is live
    loop: LoopReport | None  # the last window; None where nothing is chosen, or none is over
    performance: tuple[MetricReport, ...]  # of the live version's rows that have a label
    quality: QualityReport | None  # of its captured rows; None before there are any
    audit: AuditReport | None  # of the live version; None before the first
    alerts: tuple[AlertReport, ...]  # the newest, those that began last first


def report(engine: Engine, registry: Registry, model: str, *, alpha: float) -> Report:
    """Report on one model.

    Args:
        engine: The database that `Judgements` and `FeedbackStore` write.
        registry: Knows what the versions promise, and which one is live.
        model: Its name.
        alpha: Accepted chance that an interval ever misses.

    Raises:
        UnknownModelError: there is no such model.
    """
    registered = {row.version: row.manifest for row in registry.versions(model)}
    table = registry.table(model)
    with reading(engine) as connection:
        cells = read_cells(connection, model)
        labels = read_labels(connection, model)
        drift = feedback = loop = None
        known = Known()
        if table is not None:
            spec = registered[table.live].feedback
            feedback = read_feedback(connection, model, spec, window_of(spec))
            loop = _loop(connection, model)
            known = read_known(connection, registered[table.live], labels, loop, alpha=alpha)
            drift = _drift(connection, model, table.live, known.prior)
        alerts = tuple(map(AlertReport.of, read_alerts(connection, model, last=ALERTS)))
        shadow = None
        if table is not None and table.shadow is not None:
            tally = read_shadow(connection, model, table.shadow, live=table.live)
            contest = None
            if answers_classes(registered[table.live].signature):
                contest = read_contest(
                    connection, model, live=table.live, shadow=table.shadow, alpha=alpha
                )
            shadow = _shadow(table.shadow, tally, contest, alpha)
    names = sorted({cell.version for cell in cells.sums if cell.version} | set(registered))
    versions = tuple(
        _version(name, cells, labels.right(name), table=table, alpha=alpha) for name in names
    )
    expectations: tuple[Expectation, ...] = ()
    if table is not None:
        expectations = judge_expectations(
            registered[table.live],
            cells,
            labels.right(table.live),
            since_revision=_live_since(registry, table),
            alpha=alpha,
        )
        live = registered[table.live]
        expectations = judge_known(live, known, expectations, own_rows=own_rows(cells, table.live))
        if live.explore.kind != "none":
            expectations += judge_loop_expectations(loop, live.loop, alpha=alpha)
    total = cells.total()
    return Report(
        model=model,
        revision=0 if table is None else table.revision,
        live=None if table is None else table.live,
        alpha=alpha,
        requests=total.requests,
        rows=total.rows,
        unmatched_labels=labels.unmatched,
        versions=versions,
        shadow=shadow,
        expectations=expectations,
        drift=drift,
        feedback=feedback,
        loop=loop,
        performance=known.performance,
        quality=known.quality,
        audit=known.audit,
        alerts=alerts,
    )


def _loop(connection: Connection, model: str) -> LoopReport | None:
    told = read_loop(connection, model)
    return None if told is None else LoopReport.model_validate_json(told)


def _drift(
    connection: Connection, model: str, version: str, prior: tuple[PriorReport, ...]
) -> DriftReport | None:
    found = read_findings(connection, model, version)
    told = tuple(
        MonitorReport.model_validate_json(found[name]) for name in MONITORED if name in found
    )
    return DriftReport(version=version, monitors=told, prior=prior) if told or prior else None


def _live_since(registry: Registry, table: RoutingTable) -> int:
    """Find the revision with which the live version became live, the last time."""
    return max(
        (
            entry.revision
            for entry in registry.audit(table.model)
            if entry.version == table.live
            and entry.to_state == "live"
            # It was live before, and what it did then counts.
            and entry.from_state not in ("unloaded", "live")
        ),
        default=0,
    )


def _version(
    name: str, cells: Cells, right: Hits, *, table: RoutingTable | None, alpha: float
) -> VersionReport:
    own = cells.where(lambda cell: cell.version == name)
    answers = own.where(is_answer)
    total, answered = own.total(), answers.total().requests
    reasons = answers.requests_by(lambda cell: cell.fallback_reason)
    return VersionReport(
        version=name,
        role=_role(name, table),
        requests=total.requests,
        answered=answered,
        rows=total.rows,
        served_by=answers.requests_by(lambda cell: cell.served_by),
        fallback_reasons={reason: n / answered for reason, n in reasons.items() if reason},
        flagged_share=_ratio(total.flagged, total.rows),
        rejected_share=_ratio(total.rejected, total.rows),
        explored_share=_ratio(total.explored, total.rows),
        latency_p50_ms=_ms(answers.duration_ns(0.50)),
        latency_p99_ms=_ms(answers.duration_ns(0.99)),
        accuracy=_share(right, alpha),
        abstained_share=_ratio(total.abstained, total.rows),
        unguarded=total.unguarded,
        strange=_share(Hits(total.strange, total.judged), alpha),
    )


def _shadow(
    version: str, tally: ShadowTally, contest: ContestReport | None, alpha: float
) -> ShadowReport:
    return ShadowReport(
        version=version,
        payloads=tally.answered,
        failed=tally.failed,
        agreement=_share(tally.agreement, alpha),
        accuracy=_share(tally.correct, alpha),
        contest=contest,
    )


def _share(counted: Hits, alpha: float) -> Share:
    low, high = confidence_sequence(counted.hits, counted.n, alpha=alpha)
    estimate = _ratio(counted.hits, counted.n)
    return Share(hits=counted.hits, n=counted.n, estimate=estimate, low=low, high=high)


def _role(name: str, table: RoutingTable | None) -> Literal["live", "shadow", "previous", "other"]:
    if table is None:
        return "other"
    if name == table.live:
        return "live"
    if name == table.shadow:
        return "shadow"
    return "previous" if name == table.previous else "other"


def _ms(duration_ns: float | None) -> float | None:
    return None if duration_ns is None else duration_ns / NS_PER_MS


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
