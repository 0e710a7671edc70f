"""Swaps of neighbours: a ranking, disturbed just enough to see what a position is worth.

Sources: Joachims, Swaminathan, Schnabel (2017), "Unbiased learning-to-rank with biased feedback",
WSDM (pairs with the first slot); Radlinski and Joachims (2006), "Minimally invasive randomization",
AAAI (FairPairs).
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from guards.explore.rng import Noise
from guards.explore.slate import Draw, Probabilities, Slots

Scheme = Literal["fair_pairs", "first_pair"]
SLOTS_MAX = 20  # FairPairs has about 1.5 times 2^(k/2) outcomes, and all of them are kept


@dataclass(frozen=True)
class Swapped:
    """A ranking after a random swap: every outcome with its exact probability."""

    outcomes: NDArray[np.int64]  # (m, k), candidates by place; all different
    p: Probabilities  # (m,)
    n: int  # candidates

    @classmethod
    def of(cls, ranked: Slots, n: int, *, scheme: Scheme, share: float) -> "Swapped":
        """Swap with probability ``share``; the ranking stays as it is otherwise."""
        orders, p = swap_orders(len(ranked), scheme)
        p = share * p
        p[0] += 1 - share  # the first outcome is the ranking itself
        return cls(ranked[orders], p, n)

    @property
    def k(self) -> int:
        """Slots that are filled."""
        return int(self.outcomes.shape[1])

    def sample(self, noise: Noise) -> Draw:
        """Draw an outcome."""
        at = int((noise.series("swap", 1)[0] > self.p.cumsum()[:-1]).sum())
        return Draw(self.outcomes[at], "swapped" if at else "")

    def cond_probs(self, slots: Slots) -> Probabilities:
        """Probability of each slot's item given the slots before it."""
        agrees = np.logical_and.accumulate(self.outcomes == slots, axis=1)
        reached = self.p @ agrees
        before = np.concatenate([[1.0], reached[:-1]])
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(before > 0, reached / before, 0.0)

    def first_slot(self) -> Probabilities:
        """Distribution of the first slot."""
        return np.bincount(self.outcomes[:, 0], self.p, self.n).astype(np.float64)

    def expected_regret(self, scores: NDArray[np.float64], greedy: Slots) -> float:
        """Score given up, summed over slots, each after the greedy choice before it."""
        agrees = np.logical_and.accumulate(self.outcomes == greedy, axis=1)
        so_far = np.concatenate([np.ones((len(self.p), 1), np.bool_), agrees[:, :-1]], axis=1)
        mass = self.p @ so_far
        expected = self.p @ (so_far * scores[self.outcomes])
        return float(np.maximum(scores[greedy] - expected / mass, 0.0).sum())

    def marginals(self) -> Probabilities:
        """Probability of each item at each position, (n, k)."""
        columns = [np.bincount(column, self.p, self.n) for column in self.outcomes.T]
        return np.stack(columns, axis=1)


@lru_cache(maxsize=64)
def _orders(k: int, scheme: Scheme) -> tuple[NDArray[np.int64], Probabilities]:
    found: dict[tuple[int, ...], float] = {tuple(range(k)): 0.0}
    if scheme == "first_pair":
        for other in range(1, k):
            _add(found, [(0, other)], k, p=0.5 / (k - 1), is_whole=False)
        found[tuple(range(k))] += 1 - sum(found.values())
    else:
        for offset in (0, 1):
            pairs = [(at, at + 1) for at in range(offset, k - 1, 2)]
            _add(found, pairs, k, p=0.5 / 2 ** len(pairs), is_whole=True)
    return np.array(list(found), np.int64).reshape(len(found), k), np.array(list(found.values()))


def _add(
    found: dict[tuple[int, ...], float],
    pairs: list[tuple[int, int]],
    k: int,
    *,
    p: float,
    is_whole: bool,
) -> None:
    """Enter every way to flip ``pairs`` (``is_whole``), or the one that flips all of them."""
    ways = product((False, True), repeat=len(pairs)) if is_whole else [(True,) * len(pairs)]
    for flips in ways:
        order = list(range(k))
        for (one, other), is_flipped in zip(pairs, flips, strict=True):
            if is_flipped:
                order[one], order[other] = order[other], order[one]
        found[tuple(order)] = found.get(tuple(order), 0.0) + p


def swap_orders(k: int, scheme: Scheme) -> tuple[NDArray[np.int64], Probabilities]:
    """List the orders of ``k`` slots that a scheme makes, and how probable each is.

    ``fair_pairs`` cuts the slots into neighbours, beginning at the first or the second with
    probability 1/2 each, and flips every pair with probability 1/2.  ``first_pair`` picks another
    slot uniformly and changes it with the first with probability 1/2.

    Returns:
        Shape (m, k), the unchanged order first, and shape (m,), a fresh array.
    """
    orders, p = _orders(k, scheme)
    return orders, p.copy()
