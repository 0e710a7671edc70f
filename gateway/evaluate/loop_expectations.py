"""Loop health as expectations: what every model promises whose answer is a choice."""

from gateway.evaluate.expectations import Expectation, expectation
from gateway.evaluate.loop_report import LoopReport
from guards.quality.expectation import Judgement, State, judge_at_least, judge_at_most
from guards.quality.offpolicy.comparison import LARGEST_OVERRIDE_SHARE
from models.feedback_spec import LoopSpec


def judge_loop_expectations(
    report: LoopReport | None, spec: LoopSpec, *, alpha: float
) -> tuple[Expectation, ...]:
    """Judge whether new items get their chance, and whether what was drawn was shown.

    Args:
        report: Of the last window that is over; None before there is one.
        spec: Of the live version.
        alpha: Accepted chance of ever judging the second wrongly; the loop has its own.
    """
    return (
        expectation("new_items_shown", "ml", spec.share, _newcomers(report, spec)),
        expectation("shown_as_drawn", "ml", LARGEST_OVERRIDE_SHARE, _overrides(report, alpha)),
    )


def _newcomers(report: LoopReport | None, spec: LoopSpec) -> Judgement:
    reached, newcomers = (0, 0) if report is None else (report.newcomers_reached, report.newcomers)
    # Half of the loop's alpha, as its alarm has it; the other half is calibration's.
    found = judge_at_least(
        spec.share, reached, newcomers, alpha=spec.alpha / 2, outcome="new items"
    )
    if report is None or not report.loop_alarm:
        return found
    return Judgement(
        State.VIOLATED, "; ".join(report.reasons), found.estimate, found.low, found.high
    )


def _overrides(report: LoopReport | None, alpha: float) -> Judgement:
    overridden, confirmed = (
        (0, 0) if report is None else (report.ever_overridden, report.ever_confirmed)
    )
    found = judge_at_most(
        LARGEST_OVERRIDE_SHARE, overridden, confirmed, alpha=alpha, outcome="confirmed choices"
    )
    if report is None or not report.override_alarm:
        return found
    return Judgement(
        State.VIOLATED, "; ".join(report.reasons), found.estimate, found.low, found.high
    )
