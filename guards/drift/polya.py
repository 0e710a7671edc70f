"""A second opinion where the reference is small: an exact martingale that needs no bounds.

While nothing drifts, a new value falls into each of the n + 1 gaps between n reference values and
the values before it with the same probability: a Pólya urn.  Betting against the urn is exactly
fair, whatever the size of the reference.  What it costs: the urn learns, so that slow drift
becomes what it expects.

Source: Kuang and Xia (2026), arXiv 2609.00536, for the predictive law; the block form is the
Dirichlet-multinomial distribution.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp, ndtri

from guards.drift.cells import EDGES
from guards.drift.reference import Reference

TILTS = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)  # of normal scores
BENDS = (-0.9, 0.28, 0.42)  # of their squares: standard deviation x 0.6, 1.5, 2.5
SCORE_MAX = 2.5


def is_exact(reference: Reference, channel: int) -> bool:
    """Whether the urn is the law of this channel: numbers, and no ties at any edge."""
    edges = np.isfinite(reference.layout.edges[channel])
    is_number = not reference.layout.categorical[channel]
    return is_number and bool(edges.any() and reference.ranked[channel][edges].all())


def polya_evidence(reference: Reference, counts: NDArray[np.int64], *, channel: int) -> float:
    """Log e-value of everything counted so far, shape (CELLS,), in nats.

    A function of the totals only: their order does not matter, merging is adding.  Missing
    and non-finite values are left to the other bets.

    Raises:
        ValueError: the channel has ties or categories, where the urn is not the law.
    """
    if not is_exact(reference, channel):
        raise ValueError(f"{reference.layout.names[channel]} has ties: no urn describes it")
    edges = int(np.isfinite(reference.layout.edges[channel]).sum())
    gaps = reference.counts[channel][: edges + 1].astype(float)
    gaps[-1] += 1  # n values leave n + 1 gaps
    seen = counts[: EDGES + 1].astype(float)[: edges + 1]
    share = gaps / gaps.sum()
    scores = np.clip(ndtri(share.cumsum() - share / 2), -SCORE_MAX, SCORE_MAX)
    powers = np.concatenate([np.outer(TILTS, scores), np.outer(BENDS, scores**2)])
    rivals = np.log(share) + powers
    rivals -= logsumexp(rivals, axis=1, keepdims=True)
    against = logsumexp(rivals @ seen) - np.log(len(rivals))
    urn = gammaln(gaps.sum()) - gammaln(gaps.sum() + seen.sum())
    urn += (gammaln(gaps + seen) - gammaln(gaps)).sum()
    return float(against - urn)
