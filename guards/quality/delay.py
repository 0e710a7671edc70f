"""Performance while labels are still to come: the early ones are not like the late ones.

A fraud is reported weeks after an honest purchase is taken for granted; the mean of the
labels that are there flatters or slanders.  Assumption: how long a label takes depends on what it
says, and is as it was on the mature rows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

Floats = NDArray[np.float64]

LARGEST_OFFSET = 8.0  # of the logit: from a share of 1/2 to 3 in 10,000
OFFSET_SPREAD = 3.0  # of its prior: a handful of labels outweighs it, and silence moves nothing
LEAST = 1e-6
LEAST_ARRIVALS = 20  # of either kind, to know how long they take


@dataclass(frozen=True, slots=True)
class Arrivals:
    """How long labels take: P(arrived within an age), a step function."""

    ages: Floats  # (m,), rising
    shares: Floats  # (m,), not falling; beyond the last one everything has arrived

    def within(self, ages: Floats) -> Floats:
        """Share that has arrived at each age, (n,)."""
        place = np.searchsorted(self.ages, ages, side="right")
        return np.concatenate([[0.0], self.shares])[place]


def fit_arrivals(delays: Floats, observed_for: Floats) -> Arrivals:
    """Estimate the distribution of delays from labels that have arrived.

    Long delays are missing among young rows (right truncation); the product-limit estimate, run
    backwards, corrects for that.  In insurance: the chain ladder.

    Args:
        delays: Shape (n,), how long each label took; at most its ``observed_for``.
        observed_for: Shape (n,), how old its row is now.

    Source: Lynden-Bell (1971); Kalbfleisch and Lawless (1989), JASA 84, section 3.

    Raises:
        ValueError: there is no label, or one took longer than its row is old.
    """
    if len(delays) == 0 or not np.all(delays <= observed_for):
        raise ValueError("at least one label is needed, and none may be younger than its delay")
    ages, counts = np.unique(delays, return_counts=True)
    # Of the rows that could show a delay of `age`, those whose delay is that or less.
    ordered, horizon = np.sort(delays), np.sort(observed_for)
    up_to = np.searchsorted(ordered, ages, side="right")
    too_young = np.searchsorted(horizon, ages, side="left")  # these have shorter delays too
    at_risk = np.maximum(up_to - too_young, counts)
    stays = 1 - counts / at_risk  # P(delay < age | delay <= age)
    stays[0] = 1.0  # what is before the shortest delay cannot be told
    shares = np.append(np.cumprod(stays[:0:-1])[::-1], 1.0)
    return Arrivals(ages, shares)


@dataclass(frozen=True, slots=True)
class DelayAdjusted:
    """The share of wrong answers, with those whose labels are missing filled in."""

    labels_to_date: float  # of the labels that are there; biased
    adjusted: float
    offset: float  # by how much the estimate per row had to be shifted, on the logit scale
    labelled_share: float


def adjust_for_delay(
    expected: Floats,
    wrong: NDArray[np.bool_],
    arrived: NDArray[np.bool_],
    ages: Floats,
    *,
    late_wrong: Arrivals,
    late_right: Arrivals,
) -> DelayAdjusted:
    """Estimate the share of wrong answers among all rows, labelled or not.

    Per row the chance to be wrong is ``expected`` shifted by one offset, found by maximum
    likelihood: rows still without a label count by how likely either outcome would be
    silent at their age.

    Args:
        expected: Shape (n,), chance of each answer to be wrong as the model's confidence has it.
        wrong: Shape (n,), read where ``arrived``.
        arrived: Shape (n,), whether its label is there.
        ages: Shape (n,), of the rows.
        late_wrong, late_right: How long labels take that say the answer was wrong, or right.
    """
    shown_wrong, shown_right = late_wrong.within(ages), late_right.within(ages)
    base = logit(np.clip(expected, LEAST, 1 - LEAST))

    def posterior(offset: float) -> tuple[Floats, Floats]:
        """Chance of each row to be wrong, and the likelihood of what is seen of it."""
        p = expit(base + offset)
        silent_wrong, silent_right = p * (1 - shown_wrong), (1 - p) * (1 - shown_right)
        silent = np.maximum(silent_wrong + silent_right, LEAST**2)
        seen = np.where(wrong, p, 1 - p)  # the factor of the arrival does not depend on the offset
        chance = np.where(arrived, wrong, silent_wrong / silent)
        return chance, np.where(arrived, seen, silent)

    def surprise(offset: float) -> float:
        fit = float(np.log(np.maximum(posterior(offset)[1], LEAST**2)).sum())
        return (offset / OFFSET_SPREAD) ** 2 / 2 - fit

    limits = (-LARGEST_OFFSET, LARGEST_OFFSET)
    offset = float(minimize_scalar(surprise, bounds=limits, method="bounded").x)
    to_date = float(wrong[arrived].mean()) if arrived.any() else float("nan")
    chance, _ = posterior(offset)
    return DelayAdjusted(to_date, float(chance.mean()), offset, float(arrived.mean()))
