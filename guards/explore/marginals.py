"""How probable each item is at each position: exact; for analysis, not on a request's way."""

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]
Rows = NDArray[np.float64]

_STEP = 0.15  # of the quadrature; 0.25 already leaves 5e-9 with 1,000 items, this 5e-15
_LAST = 45.0  # exp(-45) of the mass lies beyond
_NODES = 64  # at a time: their tables stay within the caches


def plackett_luce_marginals(weights: Rows, k: int) -> Probabilities:
    """Probability of each item at each of the first ``k`` ranks of a Plackett-Luce order, (n, k).

    The ranks are the order in which exponential clocks with these rates ring, so

        P(rank of a = j) = integral of w e^(-w t) P(exactly j - 1 others rang before t) dt

    whose second factor is Poisson-binomial, leaving one out: prefix and suffix tables are
    convolved, because dividing one factor out again loses all digits.  Trapezoids after
    t = exp(x - exp(-x)), which makes both tails fall doubly exponentially.  O(nodes n k^2).

    Args:
        weights: Shape (n,), at least 0 and not all 0; an item of weight 0 never comes.
        k: At most the number of weights above 0.

    Source:
        Takahasi and Mori (1974), "Double exponential formulas for numerical integration",
        Publ. RIMS 9; the clocks: Yellott (1977), J. Math. Psychology 15(2).
    """
    n = len(weights)
    times, steps = _nodes(weights, k)
    found = np.zeros((n, k))
    for start in range(0, len(times), _NODES):
        part = slice(start, start + _NODES)
        found += _integrate(weights, times[part], steps[part], k)
    return found


def _nodes(weights: Rows, k: int) -> tuple[Rows, Rows]:
    """Choose times, and what each stands for."""
    ranked = np.sort(weights[weights > 0])[::-1]
    scale = 1 / ranked.sum()
    end = np.log(_LAST / (ranked[min(k, len(ranked) - 1)] * scale))
    x = np.arange(-3.7, end + 1, _STEP)  # exp(-exp(3.7)) is 3e-18
    times = scale * np.exp(x - np.exp(-x))
    return times, times * (1 + np.exp(-x)) * _STEP


def _integrate(weights: Rows, times: Rows, steps: Rows, k: int) -> Probabilities:
    n, nodes = len(weights), len(times)
    exponents = np.outer(weights, times)
    silent, rang = np.exp(-exponents), -np.expm1(-exponents)  # (n, nodes)
    before = np.zeros((n + 1, k, nodes))  # [a, i]: i of the items before a rang
    after = np.zeros((n + 1, k, nodes))  # [a, i]: i of the items from a on rang
    before[0, 0] = after[n, 0] = 1.0
    for a in range(n):
        np.multiply(before[a], silent[a], out=before[a + 1])
        before[a + 1, 1:] += before[a, :-1] * rang[a]
    for a in range(n - 1, -1, -1):
        np.multiply(after[a + 1], silent[a], out=after[a])
        after[a, 1:] += after[a + 1, :-1] * rang[a]
    density = weights[:, None] * silent * steps
    found = np.empty((n, k))
    for rank in range(k):
        others = before[:n, 0] * after[1:, rank]
        for i in range(1, rank + 1):
            others += before[:n, i] * after[1:, rank - i]
        found[:, rank] = np.einsum("at,at->a", others, density)
    return found


def slotwise_marginals(
    ranked: NDArray[np.int64], shares: Rows, eligible: NDArray[np.bool_]
) -> Probabilities:
    """The same for slots that are filled uniformly with some probability, else by the best left.

    Args:
        ranked: Shape (k,), the best candidates, best first.
        shares: Shape (k,), probability that a slot is filled uniformly from what is left.
        eligible: Shape (n,).
    """
    k, count = len(ranked), int(np.count_nonzero(eligible))
    # No slot reaches an item behind the first k but uniformly: all of them fare alike.
    found = np.where(eligible[:, None], _of_rank(k, shares, count), 0.0)
    for rank, item in enumerate(ranked.tolist()):
        found[item] = _of_rank(rank, shares, count)
    return found


def _of_rank(rank: int, shares: Rows, count: int) -> Rows:
    """Follow one item: how many better ones are left while it is still there, (k,)."""
    better = np.arange(rank + 1)
    left = np.zeros(rank + 1)  # probability that the item is there and so many better ones are
    left[rank] = 1.0
    found = np.empty(len(shares))
    for slot, share in enumerate(shares.tolist()):
        items = count - slot
        found[slot] = left.sum() * share / items + left[0] * (1 - share)
        is_taken = (1 - share) + share * better / items  # a better one, of those where any is left
        is_other = share * (items - 1 - better) / items
        kept = left * is_other
        kept[:-1] += (left * is_taken)[1:]
        left = kept
    return found
