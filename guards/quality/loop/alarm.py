"""An alarm about a feedback loop, with a stated chance of sounding without one.

Two things are watched.  *Newcomers*: of the items that entered the catalogue, how many
got ``least`` impressions within ``patience`` windows?  A loop starves what it does not
know.  *Calibration*: does the model promise more on what it chose than on what a die
chose?  The first works without any exploration, which is when it is needed most.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from guards.quality.confidence import confidence_sequence
from guards.quality.loop.calibration import Excess, loop_gap
from guards.quality.loop.settings import LoopSettings


@dataclass(frozen=True, slots=True)
class LoopJudgement:
    """Whether the alarm sounds, and why; without any evidence it says what is missing."""

    alarm: bool
    reasons: tuple[str, ...]


def judge_newcomers(reached: int, newcomers: int, settings: LoopSettings) -> str | None:
    """Say that new items starve, once that is beyond doubt; None until then.

    Args:
        reached: Newcomers with ``least`` impressions within their first ``patience`` windows.
        newcomers: All that have been there for as long.
        settings: Of the alarm; half of its alpha is spent here.

    If every newcomer gets its chance with probability ``share`` or more, whatever
    became of the others, this ever speaks with probability alpha / 2 at most, looked
    at after every window: the interval is a confidence sequence.
    """
    _, high = confidence_sequence(reached, newcomers, alpha=settings.alpha / 2)
    if high >= settings.share:
        return None
    return (
        f"{reached} of {newcomers} new items got {settings.least} impressions within "
        f"{settings.patience} windows: at most {high:.2f} of all do, "
        f"{settings.share:g} should"
    )


def judge_calibration(
    chosen: Excess, uniform: Excess, observed: float, settings: LoopSettings, *, windows: int
) -> str | None:
    """Say that the model overrates what it chose, once that is beyond doubt; None until then.

    Args:
        chosen: Of the traffic the model chose in the last window.
        uniform: Of the uniform bucket in the last window.
        observed: Mean reward of what was chosen, for the tolerance.
        settings: Of the alarm; half of its alpha is spent here.
        windows: How many windows there were, this one included.

    Every retraining makes another model, so windows are judged one by one: the w-th
    spends alpha / (2 w (w + 1)), which add up to alpha / 2 over all windows.
    """
    if uniform.rows < 2 or chosen.rows < 2:
        return None
    spent = settings.alpha / (2 * windows * (windows + 1))
    gap, _ = loop_gap(chosen, uniform)
    sure = gap - float(norm.isf(spent) * np.sqrt(chosen.variance + uniform.variance))
    accepted = settings.tolerated_gap * observed
    if sure <= accepted:
        return None
    return (
        f"the model overrates what it chose by {gap:.3g} more than what a die chose; "
        f"at least {sure:.3g} of that is no chance, {accepted:.3g} accepted"
    )


def judge_loop(*findings: str | None) -> LoopJudgement:
    """Sound the alarm if anything was found."""
    reasons = tuple(finding for finding in findings if finding is not None)
    return LoopJudgement(bool(reasons), reasons)
