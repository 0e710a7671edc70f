"""A strict interval that stays valid at every look, whatever the weights and the drift.

Source: Karampatziakis, Mineiro and Ramdas (2021), "Off-policy confidence
sequences", ICML: the gamma-exponential mixture, with a predictable guess of the
next term that lets it win where terms hardly vary.  No bound on the weights is
needed: a bet against a mean that is too large is a bet on the mirrored reward.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammainc, gammaln, polygamma

from guards.quality.offpolicy.interval import Interval
from guards.quality.offpolicy.logged import Floats, LoggedData

RHO = 1.0  # shape of the mixture; 1 as in the authors' own code


def betting(
    data: LoggedData, *, least: float = 0.0, most: float = 1.0, alpha: float = 0.05
) -> Interval:
    """Bound what the target earns per decision; rows in the order in which they came.

    The width is a multiple of the asymptotic sequence's: the price of needing
    neither a large sample nor a stationary world.

    Args:
        data: Rewards within [``least``, ``most``].
        least, most: The range that rewards cannot leave, known beforehand.
        alpha: Accepted chance that the value is ever outside, half of it on either side.

    Raises:
        ValueError: a reward is outside the range, or the range is empty.
    """
    if not least < most or data.rewards.min() < least or data.rewards.max() > most:
        raise ValueError(f"rewards must lie within [{least:g}, {most:g}]")
    reward = (data.rewards - least) / (most - least)
    weights = data.weights * data.counts
    dropped = data.counts - 1
    low = _lower(weights * reward, dropped, alpha / 2)
    high = 1 - _lower(weights * (1 - reward), dropped, alpha / 2)
    span = most - least
    return Interval(least + low * span, least + high * span, alpha, anytime=True)


def _lower(terms: Floats, dropped: Floats, alpha: float) -> float:
    """Bound the mean of non-negative terms from below."""
    rows = float(len(terms) + dropped.sum())
    total, variation = float(terms.sum()), _variation(terms, dropped)

    def excess(mean: float) -> float:
        """Log wealth won against ``mean``, beyond what excludes it; falls as ``mean`` rises."""
        return _log_wealth(total - rows * mean, variation) + float(np.log(alpha))

    if excess(0.0) <= 0:
        return 0.0
    top = min(1.0, total / rows)
    return top if excess(top) >= 0 else float(brentq(excess, 0.0, top))


def _variation(terms: Floats, dropped: Floats) -> float:
    """Add up the squared errors of guessing each term from those before it.

    A row left out by sampling is a term of 0, before the row that follows it.
    """
    before = np.concatenate([[0.0], terms.cumsum()[:-1]]) + 0.5
    seen = np.concatenate([[0.0], (dropped + 1).cumsum()[:-1]])
    guess = before / (seen + dropped + 1)
    # Guesses of the dropped terms are before/(seen + 1), before/(seen + 2), ...: in closed form.
    lost = before**2 * (polygamma(1, seen + 1) - polygamma(1, seen + 1 + dropped))
    return float(((terms - guess) ** 2).sum() + lost[dropped > 0].sum())


def _log_wealth(gain: float, variation: float) -> float:
    """Log of the gamma-exponential mixture of exp(λ gain - ψ(λ) variation) over λ in [0, 1)."""
    scale = gain + variation + RHO
    mixed = np.log(gammainc(variation + RHO, scale)) + gammaln(variation + RHO)
    prior = np.log(gammainc(RHO, RHO)) + gammaln(RHO)
    grown = gain + variation + RHO * np.log(RHO) - (variation + RHO) * np.log(scale)
    return float(grown + mixed - prior)
