"""What a finite reference can say about a probability: exact bounds, no normal approximation."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

Shares = NDArray[np.float64]


def rank_bounds(rank: NDArray[np.int64], n: int, delta: float) -> tuple[Shares, Shares]:
    """Bound P(X <= t) where t is the ``rank``-th smallest of ``n`` values without ties.

    That probability is Beta(rank, n + 1 - rank) distributed, whatever the distribution of X.
    Each of the two bounds fails with probability ``delta``; ``rank`` is in [1, n].

    Source: David and Nagaraja (2003), Order Statistics, section 2.3.
    """
    a, b = rank.astype(float), (n + 1 - rank).astype(float)
    return _quantile(a, b, delta), _quantile(a, b, 1 - delta)


def share_bounds(hits: NDArray[np.int64], n: int, delta: float) -> tuple[Shares, Shares]:
    """Bound the probability of an event that ``hits`` of ``n`` values were in.

    Each of the two bounds fails with probability at most ``delta``.

    Source: Clopper and Pearson (1934), Biometrika 26(4).
    """
    k = hits.astype(float)
    low = np.where(hits > 0, _quantile(np.maximum(k, 1), n - k + 1, delta), 0.0)
    high = np.where(hits < n, _quantile(k + 1, np.maximum(n - k, 1), 1 - delta), 1.0)
    return low, high


def widen(low: Shares, high: Shares, slack: float) -> tuple[Shares, Shares]:
    """Let a drift smaller than ``slack`` pass: the floor below which nobody wants to know."""
    return np.maximum(low - slack, 0.0), np.minimum(high + slack, 1.0)


def _quantile(a: Shares, b: Shares, share: float) -> Shares:
    return np.asarray(betaincinv(a, b, share), np.float64)
