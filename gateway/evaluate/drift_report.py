"""What people read about drift: a value, made after each tick and stored as JSON."""

from typing import Literal

from gateway.evaluate.prior import PriorReport
from guards.settings import Settings

ASSUMPTION = (
    "Promised for values that are independent of each other while nothing drifts; traffic that "
    "repeats itself or wanders needs guards.drift.entity or guards.drift.time_ordered."
)


class ChannelDrift(Settings):
    """One channel against its reference."""

    name: str
    weight: float  # in the alarm: how much the model relies on it
    log_evidence: float  # nats
    named: bool  # drifts, with at most 5 % of those named innocent
    how: str
    since_s: float | None  # Unix, estimated; None where it is not named
    n: int  # values in the window that is described
    missing_share: float
    kolmogorov_smirnov: float | None
    psi: float | None
    jensen_shannon: float
    wasserstein_iqr: float | None
    chi2_p: float
    cramers_v: float
    urn_log_evidence: float | None  # second opinion where the reference is small


class MonitorReport(Settings):
    """What one monitor says."""

    monitor: str
    pages: bool  # an alarm wakes people; that of the others is a diagnosis
    state: Literal["quiet", "alarm"]
    alarmed_s: float | None  # Unix
    since_s: float | None  # Unix, estimated begin of what raised the alarm
    false_alarm_days: float  # between false alarms, on average at least
    ticks: int
    values: int
    log_evidence: float  # of the alarm, nats; alarm from log_threshold
    log_threshold: float
    log_evidence_since_start: float
    ever: bool  # since the start there once was evidence enough at alpha
    channels: tuple[ChannelDrift, ...]  # strongest first, at most ten


class DriftReport(Settings):
    """Every monitor of one version."""

    version: str
    monitors: tuple[MonitorReport, ...]
    prior: tuple[PriorReport, ...] = ()  # of the classes; none without labelled held-out rows
    assumption: str = ASSUMPTION
