"""A slate filled slot by slot: from an order, now and then uniformly, or from a reserved pool."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from guards.explore.marginals import plackett_luce_marginals, slotwise_marginals
from guards.explore.order import ByScore, Order, PlackettLuce, largest
from guards.explore.rng import Noise
from guards.explore.slate import Draw, NoMarginalsError, Probabilities, Slots, remaining_sums


@dataclass(frozen=True, slots=True)
class Pool:
    """Candidates that share one reserved slot, for what nobody knows yet."""

    slot: int  # from 0
    share: float  # probability that the slot is theirs
    weights: NDArray[np.float64]  # (n,), larger is likelier; 0: not in the pool


@dataclass(frozen=True)
class Slotwise:
    """Every slot: uniformly from what is left with probability ``uniform``, else the next in order.

    ``epsilon_greedy``, ``plackett_luce``, the floor and the cold-start slot are all of this form,
    so one sampler and one formula for the propensity serve them:

        p(a | before) = (1 - q) ((1 - e) order(a | before) + e / left) + q pool(a | before)

    with ``e`` the larger of ``uniform`` and what the floor needs, and ``q`` the pool's share of its
    slot.  What is drawn from each is independent of the others, and order and pool have no memory
    but of who is gone, so that the conditional probabilities are exact.
    """

    order: Order
    eligible: NDArray[np.bool_]  # (n,)
    slots_wanted: int
    uniform: float = 0.0
    floor: float = 0.0  # least probability of every eligible item at every slot
    pool: Pool | None = None

    @cached_property
    def count(self) -> int:
        """How many candidates are eligible."""
        return int(np.count_nonzero(self.eligible))

    @cached_property
    def k(self) -> int:
        """Slots that are filled."""
        return min(self.slots_wanted, self.count)

    @cached_property
    def _left(self) -> NDArray[np.float64]:
        return self.count - np.arange(self.k, dtype=np.float64)

    @cached_property
    def _uniform_shares(self) -> NDArray[np.float64]:
        if self.floor == 0.0:
            return np.full(self.k, self.uniform)
        needed = self.floor * self._left
        if self.pool is not None and self.pool.slot < self.k and self.pool.share < 1:
            needed[self.pool.slot] /= 1 - self.pool.share  # the pool's draws do not help the others
        return np.minimum(np.maximum(self.uniform, needed), 1.0)

    @property
    def _is_order(self) -> bool:
        return self.uniform == 0.0 and self.floor == 0.0 and self.pool is None

    def sample(self, noise: Noise) -> Draw:
        """Draw a slate."""
        ordered = self.order.first(noise, self.k)
        if self._is_order:
            return Draw(ordered)
        return self._walk(ordered, noise)

    def _walk(self, ordered: Slots, noise: Noise) -> Draw:
        which = noise.series("slot", self.k)
        queues = {"": iter(ordered.tolist())}
        taken: list[int] = []
        told: list[str] = []
        for slot in range(self.k):
            arm = self._arm(slot, float(which[slot]), taken)
            if arm not in queues:
                queues[arm] = iter(self._queue(arm, noise).tolist())
            taken.append(next(item for item in queues[arm] if item not in taken))
            if arm:
                told.append(f"{arm}@{slot}")
        return Draw(np.array(taken, np.int64), ",".join(told))

    def _arm(self, slot: int, number: float, taken: list[int]) -> str:
        """Name what fills a slot: "" is the order."""
        pool_share = self._pool_share(slot, taken)
        if number <= pool_share:
            return "cold_start"
        # What the pool does not take of a slot, uniform draws and the order share.
        is_uniform = number <= pool_share + (1 - pool_share) * self._uniform_shares[slot]
        return "uniform" if is_uniform else ""

    def _pool_share(self, slot: int, taken: list[int]) -> float:
        if self.pool is None or self.pool.slot != slot:
            return 0.0
        weights = self.pool.weights.copy()
        weights[taken] = 0.0
        return self.pool.share if weights.any() else 0.0

    def _queue(self, arm: str, noise: Noise) -> Slots:
        """Order the candidates as an arm takes them, if it takes any: an order of random clocks."""
        if arm == "uniform":
            keys = np.where(self.eligible, noise.by_item("uniform"), -np.inf)
            return largest(keys, self.k)
        assert self.pool is not None
        weights = self.pool.weights
        with np.errstate(divide="ignore"):
            rings = np.log(noise.by_item("cold")) / np.where(weights > 0, weights, 1.0)
        return largest(np.where(weights > 0, rings, -np.inf), self.k)

    def cond_probs(self, slots: Slots) -> Probabilities:
        """Probability of each slot's item given the slots before it."""
        p = self.order.cond_probs(slots)
        if self._is_order:
            return p
        shares = self._uniform_shares
        p = np.asarray((1 - shares) * p + shares / self._left)
        if self.pool is not None and self.pool.slot < self.k:
            slot = self.pool.slot
            share = self._pool_share(slot, slots[:slot].tolist())
            if share > 0:
                left = self.pool.weights.copy()
                left[slots[:slot]] = 0.0
                p[slot] = (1 - share) * p[slot] + share * left[slots[slot]] / left.sum()
        return p

    def first_slot(self) -> Probabilities:
        """Distribution of the first slot."""
        p = self.order.first_slot()
        if self._is_order:
            return p
        share = self._uniform_shares[0]
        p = np.asarray((1 - share) * p + share * self.eligible / self.count)
        if self.pool is not None and self.pool.slot == 0 and self._pool_share(0, []) > 0:
            pool = self.pool
            p = (1 - pool.share) * p + pool.share * pool.weights / pool.weights.sum()
        return p

    def expected_regret(self, scores: NDArray[np.float64], greedy: Slots) -> float:
        """Score given up, summed over slots."""
        greedy = greedy[: self.k]
        allowed = np.where(self.eligible, scores, 0.0)
        expected = self.order.expected_scores(allowed, greedy)
        if not self._is_order:
            shares = self._uniform_shares
            mean = remaining_sums(allowed, greedy) / self._left
            expected = (1 - shares) * expected + shares * mean
        regret = scores[greedy] - expected
        if self.pool is not None and self.pool.slot < self.k:
            slot = self.pool.slot
            share = self._pool_share(slot, greedy[:slot].tolist())
            if share > 0:
                left = self.pool.weights.copy()
                left[greedy[:slot]] = 0.0
                of_pool = scores[greedy[slot]] - float(left @ allowed / left.sum())
                regret[slot] = (1 - share) * regret[slot] + share * of_pool
        return float(np.maximum(regret, 0.0).sum())

    def marginals(self) -> Probabilities:
        """Probability of each item at each position, (n, k); milliseconds, so never on the way.

        Raises:
            NoMarginalsError: a pool, or uniform slots in a Plackett-Luce order.
        """
        if self._is_order and isinstance(self.order, PlackettLuce):
            return plackett_luce_marginals(self.order.weights(self.k), self.k)
        if self.pool is None and isinstance(self.order, ByScore):
            return slotwise_marginals(self.order.ranked, self._uniform_shares, self.eligible)
        raise NoMarginalsError("a slate with a pool, or with uniform slots in a random order,")
