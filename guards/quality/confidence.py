"""An interval for a share that stays valid however often one looks.

Source: Waudby-Smith and Ramdas (2024), "Estimating means of bounded random
variables by betting", JRSS-B 86(1), in the 0/1 case, where the beta-binomial
mixture of Robbins (1970) is the closed form.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaln, xlog1py, xlogy

PRIOR = 0.5  # Jeffreys: favours no share, yet loses little where shares usually lie, near 0 or 1
SMALLEST = 1e-300  # stands for a share of 0, whose logarithm is -inf
LARGEST = float(np.nextafter(1.0, 0.0))  # and for one of 1, unless nothing failed


def confidence_sequence(successes: float, n: int, *, alpha: float) -> tuple[float, float]:
    """Bound a share from ``n`` outcomes of which ``successes`` were 1.

    Or the mean of any values in [0, 1] from their sum: the likelihood ratio below is a convex
    function of each outcome, so under a mean of θ it expects no more than of zeros and ones.  What
    it depends on are two sums, so those of several replicas or days add up.

    The chance that the true share ever leaves the interval, over all n at once,
    is at most ``alpha``: look after every label, stop when convinced.

    For a candidate share θ, the likelihood of the outcomes under a
    Beta(½, ½) mixture divided by that under θ is a martingale that starts at 1 if
    θ is true; by Ville's inequality it ever reaches 1/alpha with probability at
    most alpha.  The interval holds the θ for which it lies below.

    Returns:
        Both ends, in [0, 1]; (0, 1) of no outcome.

    Raises:
        ValueError: ``successes`` is outside [0, n], or alpha outside (0, 1).
    """
    if not 0 <= successes <= n or not 0 < alpha < 1:
        raise ValueError(f"{successes:g} of {n} successes at alpha={alpha:g}")
    failures = n - successes
    # The mixture is symmetric, so the upper end is the lower end of the other outcome.
    return _lower(successes, failures, alpha), 1 - _lower(failures, successes, alpha)


def _lower(successes: float, failures: float, alpha: float) -> float:
    """Find the smallest share that the outcomes do not exclude."""
    if successes == 0:
        return 0.0
    mixture = float(betaln(PRIOR + successes, PRIOR + failures) - betaln(PRIOR, PRIOR))

    def excess(share: float) -> float:
        """Log wealth against ``share`` beyond what excludes it; falls up to the estimate."""
        return mixture + float(np.log(alpha) - xlogy(successes, share) - xlog1py(failures, -share))

    if excess(SMALLEST) <= 0:
        return 0.0
    top = min(successes / (successes + failures), LARGEST if failures else 1.0)
    return float(brentq(excess, SMALLEST, top)) if excess(top) < 0 else top
