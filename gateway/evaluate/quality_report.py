"""What people read about quality with few, late or no labels: a value, stored as JSON.

Made by the evaluator from the captured requests of the live version: the newest ones, a random
sample of its traffic (``capture.share``).
"""

from gateway.evaluate.delayed import DelayedReport
from gateway.evaluate.estimated import EstimatedReport
from gateway.evaluate.performance import MetricReport
from gateway.registry.quality import Alert
from guards.settings import Settings


class SliceReport(Settings):
    """The rows that have one value of one thing."""

    by: str
    value: str
    metric: MetricReport


class QualityReport(Settings):
    """What the captured rows of one version say."""

    version: str
    rows: int  # captured, the newest
    labelled: int  # of those
    since_s: float  # Unix; when the first of them arrived
    until_s: float
    scored: tuple[MetricReport, ...] = ()  # of the probabilities, where there are labels
    slices: tuple[SliceReport, ...] = ()  # the surely worst first
    estimated: EstimatedReport | None = None  # None without labelled held-out rows in the bundle
    delayed: DelayedReport | None = None  # None of no label, or where answers are numbers


class AlertReport(Settings):
    """An expectation was found violated."""

    version: str
    expectation: str
    reason: str  # when it was found
    since_s: float  # Unix
    until_s: float | None  # None: it still is

    @classmethod
    def of(cls, alert: Alert) -> "AlertReport":
        """Tell of an alert that is kept."""
        return cls(
            version=alert.version,
            expectation=alert.expectation,
            reason=alert.reason,
            since_s=alert.since_s,
            until_s=alert.until_s,
        )
