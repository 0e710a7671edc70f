"""Would the other policy have earned more?  Or: this log cannot tell."""

from dataclasses import dataclass
from enum import StrEnum

from guards.quality.offpolicy.asymptotic import asymptotic
from guards.quality.offpolicy.diagnostics import Diagnostics
from guards.quality.offpolicy.estimate import Estimate
from guards.quality.offpolicy.interval import Interval

# Estimators whose intervals were measured to cover what they say.  The others shrink
# weights, trust a model or assume how users read: good to look at, never to decide on.
DECIDING = frozenset({"snips", "dr", "slate_snips"})

LEAST_EFFECTIVE_ROWS = 100  # at 90 the 95 % intervals of IPS covered .90
LARGEST_SHARE = 0.10  # one row must not decide
LARGEST_MARTINGALE_Z = 4.0  # propensities are not those of what was served
LARGEST_MEAN_WEIGHT_Z = 3.0  # the same, or the target is not supported
LARGEST_OVERRIDE_SHARE = 0.005  # what was served was not what was drawn
LARGEST_UNSUPPORTED = 0.01  # of the target's choices the log says nothing


class Verdict(StrEnum):
    """What the log says of the target against the baseline."""

    MORE = "earns more"
    LESS = "earns less"
    UNDECIDED = "undecided"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A verdict, and the sentence or sentences that justify it."""

    verdict: Verdict
    reasons: tuple[str, ...]
    difference: float
    interval: Interval


def compare(
    target: Estimate, baseline: Estimate, diagnostics: Diagnostics, *, alpha: float = 0.05
) -> Comparison:
    """Judge the target policy against another estimate from the same rows.

    Args:
        target: What the other policy would have earned.
        baseline: What it is compared with: `on_policy`, or another target.
        diagnostics: Of the target's weights.
        alpha: Chance of judging wrongly, at one look.
    """
    difference = target.minus(baseline)
    interval = asymptotic(difference, alpha=alpha)
    against = refusals(target, diagnostics)
    if against:
        return Comparison(Verdict.REFUSED, against, difference.value, interval)
    if interval.low > 0:
        verdict = Verdict.MORE
    elif interval.high < 0:
        verdict = Verdict.LESS
    else:
        verdict = Verdict.UNDECIDED
    reason = f"difference {difference.value:+.4g}, {1 - alpha:.0%} interval " + (
        f"{interval.low:+.4g} to {interval.high:+.4g}"
    )
    return Comparison(verdict, (reason,), difference.value, interval)


def refusals(target: Estimate, seen: Diagnostics) -> tuple[str, ...]:
    """List every reason not to decide; empty if there is none."""
    checks = (
        (
            target.estimator not in DECIDING,
            f"{target.estimator} is a diagnostic; its interval leaves out its bias",
        ),
        (
            not seen.effective_rows >= LEAST_EFFECTIVE_ROWS,
            f"effective sample size {seen.effective_rows:.0f} of {seen.rows:,} rows, "
            f"at least {LEAST_EFFECTIVE_ROWS} needed",
        ),
        (
            seen.largest_share > LARGEST_SHARE,
            f"one row carries {seen.largest_share:.3f} of all weight, at most {LARGEST_SHARE:g}",
        ),
        (
            abs(seen.mean_weight_z) > LARGEST_MEAN_WEIGHT_Z,
            f"weights average {seen.mean_weight:.3f} instead of 1 (z {seen.mean_weight_z:+.1f})",
        ),
        (
            abs(seen.martingale_z or 0.0) > LARGEST_MARTINGALE_Z,
            f"an action was not served as its propensities say (z {seen.martingale_z or 0:+.1f})",
        ),
        (
            (seen.unsupported or 0.0) > LARGEST_UNSUPPORTED,
            f"{seen.unsupported or 0:.3f} of the target's choices are never served",
        ),
        (
            (seen.override_share or 0.0) > LARGEST_OVERRIDE_SHARE,
            f"{seen.override_share or 0:.4f} of what was drawn was overridden, "
            f"at most {LARGEST_OVERRIDE_SHARE:g}",
        ),
    )
    return tuple(reason for applies, reason in checks if applies)
