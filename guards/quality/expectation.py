"""Whether an expectation holds, is violated, or cannot be told yet."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from guards.quality.confidence import confidence_sequence
from guards.quality.measured import Measured


class State(StrEnum):
    """What is known about an expectation."""

    HOLDS = "holds"
    VIOLATED = "violated"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The state of one expectation and the sentence that justifies it."""

    state: State
    reason: str
    estimate: float | None  # None without any outcome
    low: float | None  # None where nothing bounds it yet
    high: float | None


def judge_at_least(
    target: float,
    successes: int,
    n: int,
    *,
    alpha: float,
    total: int | None = None,
    outcome: str = "labels",
) -> Judgement:
    """Judge whether a share is at least ``target``, e.g. the accuracy.

    It *holds* once the whole interval lies at or above the target, is *violated*
    once the whole interval lies below.  The interval is a confidence sequence: as
    long as the share does not change, the chance of a wrong verdict at any look
    is at most ``alpha``.

    Args:
        target: The share that was promised.
        successes: Outcomes that count towards it, of ``n``.
        n: Outcomes seen.
        alpha: Accepted chance of ever judging wrongly.
        total: Predictions that could have an outcome; said while there is none.
        outcome: What is counted, in the plural, for the sentence.
    """
    low, high = confidence_sequence(successes, n, alpha=alpha)
    state = _state(holds=low >= target, violated=high < target)
    reason = _reason(successes, n, target=target, interval=(low, high), total=total, of=outcome)
    return Judgement(state, reason, successes / n if n else None, low, high)


def judge_at_most(
    limit: float,
    successes: int,
    n: int,
    *,
    alpha: float,
    total: int | None = None,
    outcome: str = "requests",
) -> Judgement:
    """Judge whether a share is at most ``limit``, e.g. that of late answers.

    As `judge_at_least`, with the sides exchanged.
    """
    low, high = confidence_sequence(successes, n, alpha=alpha)
    state = _state(holds=high <= limit, violated=low > limit)
    reason = _reason(successes, n, target=limit, interval=(low, high), total=total, of=outcome)
    return Judgement(state, reason, successes / n if n else None, low, high)


def judge_measured(
    target: float, measured: Measured, *, larger_is_better: bool, total: int | None = None
) -> Judgement:
    """Judge whether a metric keeps to its target: the least allowed, or the most.

    As `judge_at_least`, with the interval that came with the metric; while nothing bounds it,
    the state is *unknown*.

    Args:
        target: What was promised.
        measured: The metric of the labelled rows.
        larger_is_better: Whether the target is the least or the most allowed.
        total: Predictions that could have a label; said while there is none.
    """
    n, low, high = measured.n, measured.low, measured.high
    if n == 0:
        return Judgement(State.UNKNOWN, no_labels(total), None, None, None)
    if not np.isfinite(measured.estimate):
        reason = f"{measured.metric} is not defined for these {n:,} labels"
        return Judgement(State.UNKNOWN, reason, None, None, None)
    if not np.isfinite(low + high):
        reason = f"{measured.estimate:.3f} of {n:,} labels, too few for an interval"
        return Judgement(State.UNKNOWN, reason, measured.estimate, None, None)
    holds, violated = (
        (low >= target, high < target) if larger_is_better else (high <= target, low > target)
    )
    said = f"{measured.estimate:.3f} of {n:,} labels; interval {low:.3f}-{high:.3f}"
    relation = "is below" if high < target else "is above" if low > target else "includes"
    state = _state(holds=holds, violated=violated)
    return Judgement(state, f"{said} {relation} {target:g}", measured.estimate, low, high)


def no_labels(total: int | None) -> str:
    """Say that nobody has said yet what was true."""
    return "no labels yet" if total is None else f"no labels yet: 0 of {total:,}"


def _state(*, holds: bool, violated: bool) -> State:
    if violated:
        return State.VIOLATED
    return State.HOLDS if holds else State.UNKNOWN


def _reason(
    successes: int,
    n: int,
    *,
    target: float,
    interval: tuple[float, float],
    total: int | None,
    of: str,
) -> str:
    """Say what was seen and how it lies to the target."""
    if n == 0:
        return f"no {of} yet" if total is None else f"no {of} yet: 0 of {total:,}"
    low, high = interval
    relation = "is below" if high < target else "is above" if low > target else "includes"
    return f"{successes / n:.3f} of {n:,} {of}; interval {low:.3f}-{high:.3f} {relation} {target:g}"
