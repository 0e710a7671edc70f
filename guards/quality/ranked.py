"""Measures of rankings, one row per ranking: what was relevant, in the order it was shown."""

import numpy as np
from numpy.typing import NDArray

Relevance = NDArray[np.float64]  # (n, slots), of what was shown in each slot; 0 not relevant


def ndcg(relevance: Relevance, ideal: Relevance | None = None) -> NDArray[np.float64]:
    """Discounted gain over that of the best order, per ranking, (n,); NaN if nothing is relevant.

    Args:
        relevance: Of what was shown, not negative.
        ideal: Of all candidates, (n, candidates); None: of those shown.

    Source: Järvelin, Kekäläinen (2002), "Cumulated gain-based evaluation of IR techniques".
    """
    best = -np.sort(-(relevance if ideal is None else ideal), axis=1)[:, : relevance.shape[1]]
    gained, most = _discounted(relevance), _discounted(best)
    ratio = np.full(len(most), np.nan)
    np.divide(gained, most, out=ratio, where=most > 0)
    return ratio


def reciprocal_rank(relevance: Relevance) -> NDArray[np.float64]:
    """One over the place of the first relevant slot, (n,); 0 where there is none."""
    is_relevant = relevance > 0
    first = is_relevant.argmax(axis=1)
    return np.where(is_relevant.any(axis=1), 1 / (first + 1), 0.0)


def hit_rate(relevance: Relevance, *, within: int) -> NDArray[np.float64]:
    """Whether something relevant was among the first ``within`` slots, 0 or 1, (n,)."""
    return np.asarray((relevance[:, :within] > 0).any(axis=1), np.float64)


def _discounted(relevance: Relevance) -> NDArray[np.float64]:
    return np.asarray(relevance @ (1 / np.log2(np.arange(relevance.shape[1]) + 2)))
