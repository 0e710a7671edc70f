"""Everything a log says about another policy: estimates, how far to trust them, a verdict or none.

One call for single choices, one for rankings.  Plain numbers, ready to be shown or stored.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from guards.quality.offpolicy.anytime import asymptotic_sequence
from guards.quality.offpolicy.asymptotic import asymptotic, standard_error
from guards.quality.offpolicy.comparison import DECIDING, Comparison, compare
from guards.quality.offpolicy.diagnostics import Diagnostics
from guards.quality.offpolicy.doubly_robust import Predictions, direct, dr, dros, switch_dr
from guards.quality.offpolicy.estimate import Estimate
from guards.quality.offpolicy.importance import clipped, ips, on_policy, snips
from guards.quality.offpolicy.interval import Interval
from guards.quality.offpolicy.logged import LoggedData
from guards.quality.offpolicy.slate import SlateData
from guards.quality.offpolicy.slate_estimators import (
    independent,
    pseudo_inverse,
    reward_interaction,
    standard,
)

WEIGHT_LIMIT = 10.0  # of the clipped and the switching diagnostics
PLANNED_UNITS = 10_000  # where the anytime interval is tightest
SHRINKAGE = 100.0  # of `dros`: weights are halved at 10


@dataclass(frozen=True, slots=True)
class Line:
    """One estimator's answer."""

    estimator: str
    value: float
    standard_error: float
    interval: Interval  # for one look
    anytime: Interval  # for every look so far and to come
    may_decide: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What the target would have earned per decision, beside what was earned."""

    baseline: Line  # the logging policy itself
    lines: tuple[Line, ...]
    diagnostics: Diagnostics
    comparison: Comparison  # of the most exact estimate that may decide with the baseline


def report_choices(
    data: LoggedData,
    diagnostics: Diagnostics,
    *,
    predictions: Predictions | None = None,
    alpha: float = 0.05,
) -> Report:
    """Report on single choices.

    Args:
        data: The log.
        diagnostics: Of it, by `diagnose`.
        predictions: Of a cross-fitted reward model; without them there is no DR.
        alpha: Of every interval, and of the verdict.
    """
    estimates = [ips(data), snips(data), clipped(data, limit=WEIGHT_LIMIT)]
    best = estimates[1]
    if predictions is not None:
        best = dr(data, predictions)
        estimates += [
            best,
            switch_dr(data, predictions, limit=WEIGHT_LIMIT),
            dros(data, predictions, shrinkage=SHRINKAGE),
            direct(data, predictions),
        ]
    return _report(estimates, best, on_policy(data), diagnostics, alpha=alpha)


def report_slates(data: SlateData, diagnostics: Diagnostics, *, alpha: float = 0.05) -> Report:
    """Report on rankings; ``diagnostics`` are those of ``data.whole``.

    Estimates that assume something of the reader are shown and never decide.
    """
    best = standard(data)
    estimates = [standard(data, self_normalised=False), best, reward_interaction(data)]
    if data.logging_marginal is not None and data.target_marginal is not None:
        estimates.append(independent(data))
    if data.factored:
        estimates.append(pseudo_inverse(data))
    return _report(estimates, best, on_policy(data.whole), diagnostics, alpha=alpha)


def _report(
    estimates: Iterable[Estimate],
    best: Estimate,
    baseline: Estimate,
    diagnostics: Diagnostics,
    *,
    alpha: float,
) -> Report:
    return Report(
        _line(baseline, alpha),
        tuple(_line(estimate, alpha) for estimate in estimates),
        diagnostics,
        compare(best, baseline, diagnostics, alpha=alpha),
    )


def _line(estimate: Estimate, alpha: float) -> Line:
    return Line(
        estimate.estimator,
        estimate.value,
        standard_error(estimate),
        asymptotic(estimate, alpha=alpha),
        asymptotic_sequence(estimate, planned_units=PLANNED_UNITS, alpha=alpha),
        may_decide=estimate.estimator in DECIDING,
    )
