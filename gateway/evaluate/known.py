"""What is known of the quality of the live version, and what becomes of its promises by it."""

from dataclasses import dataclass

from pydantic import TypeAdapter
from sqlalchemy import Connection

from gateway.evaluate.audit import AuditReport, judge_audited, read_audit
from gateway.evaluate.estimated import judge_estimated, mention_estimate
from gateway.evaluate.expectations import Expectation, expectation
from gateway.evaluate.loop_report import LoopReport
from gateway.evaluate.ml_expectations import judge_measures
from gateway.evaluate.performance import MetricReport, measure_labelled
from gateway.evaluate.prior import PriorReport
from gateway.evaluate.quality_report import QualityReport
from gateway.evaluate.tallies import LabelTally
from gateway.registry.quality import read_quality
from models.manifest import Manifest

_priors = TypeAdapter(tuple[PriorReport, ...])


@dataclass(frozen=True, slots=True)
class Known:
    """Measured by labels, and what the captured rows told when they were looked at last."""

    performance: tuple[MetricReport, ...] = ()
    quality: QualityReport | None = None  # None before there are captured rows
    prior: tuple[PriorReport, ...] = ()
    audit: AuditReport | None = None  # None before the first


def read_known(
    connection: Connection,
    manifest: Manifest,
    labels: LabelTally,
    loop: LoopReport | None,
    *,
    alpha: float,
) -> Known:
    """Read everything about the version that ``manifest`` is of.

    Args:
        connection: Reads.
        manifest: Of the live version.
        labels: Of all versions.
        loop: Of the last window of a model that explores.
        alpha: Accepted chance that an interval ever misses.
    """
    performance = measure_labelled(manifest, labels, alpha=alpha)
    if loop is not None and loop.ranked.version == manifest.version:
        performance += tuple(map(MetricReport.of, loop.ranked.measured(alpha=alpha)))
    stored = read_quality(connection, manifest.name, manifest.version)
    audit = read_audit(connection, manifest.name, manifest.version, alpha=alpha)
    if stored is None:
        return Known(performance, audit=audit)
    report, prior = stored
    quality = QualityReport.model_validate_json(report)
    return Known(performance, quality, _priors.validate_json(prior), audit)


def judge_known(
    manifest: Manifest, known: Known, judged: tuple[Expectation, ...], *, own_rows: int
) -> tuple[Expectation, ...]:
    """Judge what is promised of right and wrong.

    Args:
        manifest: Of the live version.
        known: Of it.
        judged: What labels have said of its accuracy already.
        own_rows: Rows that it answered itself; said while there is no label.
    """
    quality = known.quality
    estimated = None if quality is None else quality.estimated
    scored, slices = ((), ()) if quality is None else (quality.scored, quality.slices)
    measured = {one.metric: one.measured for one in (*known.performance, *scored)}
    judged = tuple(_by_audit(one, known.audit) for one in judged)
    found = (*judged, *judge_measures(manifest, measured, slices, own_rows=own_rows))
    found = tuple(mention_estimate(one, estimated) for one in found)
    alarm = judge_estimated(estimated, manifest.expectations.accuracy)
    return found if alarm is None else (*found, alarm)


def _by_audit(judged: Expectation, audit: AuditReport | None) -> Expectation:
    """Let an audit take the place of plain labels in the accuracy."""
    if judged.name != "accuracy":
        return judged
    found = judge_audited(audit, judged.target)
    return judged if found is None else expectation("accuracy", "ml", judged.target, found)
