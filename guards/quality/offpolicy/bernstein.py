"""An interval that needs no large sample, only bounded terms; wide."""

import numpy as np

from guards.quality.offpolicy.interval import Interval
from guards.quality.offpolicy.logged import Floats


def empirical_bernstein(terms: Floats, *, width: float, alpha: float = 0.05) -> Interval:
    """Bound the mean of independent terms, at one look.

    Three to five times as wide as the normal interval; for hard guarantees only.

    Args:
        terms: Shape (n,), n >= 2, e.g. w r of every row; independent of each other.
        width: Largest minus smallest value that a term can take: of IPS the range of
            the reward over the least propensity.  A bound, never the observed range.
        alpha: Accepted chance that the mean is outside, half of it on either side.

    Source: Maurer and Pontil (2009), "Empirical Bernstein bounds and sample variance
    penalization", COLT, theorem 4.
    """
    n = len(terms)
    if n < 2 or float(np.ptp(terms)) > width:
        raise ValueError("at least two terms are needed, within the stated width")
    confidence = np.log(4 / alpha)  # ln(2/delta) at delta = alpha / 2
    half = np.sqrt(2 * np.var(terms, ddof=1) * confidence / n)
    half += 7 * width * confidence / (3 * (n - 1))
    mean = float(np.mean(terms))
    return Interval(mean - float(half), mean + float(half), alpha, anytime=False)
