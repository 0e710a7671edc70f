"""Slots that belong to an item whatever is drawn for the others."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from guards.explore.rng import Noise
from guards.explore.slate import Draw, Probabilities, SlateDistribution, Slots


@dataclass(frozen=True)
class Pinned:
    """A distribution over the free slots; pinned ones are certain, and estimators skip them."""

    free: SlateDistribution
    pins: Mapping[int, int]  # slot -> candidate; each slot is below ``k``

    @property
    def k(self) -> int:
        """Slots that are filled."""
        return self.free.k + len(self.pins)

    @cached_property
    def _is_free(self) -> NDArray[np.bool_]:
        is_free = np.ones(self.k, np.bool_)
        is_free[list(self.pins)] = False
        return is_free

    def sample(self, noise: Noise) -> Draw:
        """Draw the free slots."""
        draw = self.free.sample(noise)
        return Draw(self.around(draw.slots), draw.component)

    def around(self, free: Slots) -> Slots:
        """Put the pinned items between the free ones."""
        slots = np.empty(self.k, np.int64)
        slots[self._is_free] = free
        for slot, item in self.pins.items():
            slots[slot] = item
        return slots

    def cond_probs(self, slots: Slots) -> Probabilities:
        """Probability of each slot's item given the slots before it."""
        p = np.ones(self.k)
        p[self._is_free] = self.free.cond_probs(slots[self._is_free])
        for slot, item in self.pins.items():
            p[slot] = float(slots[slot] == item)
        return p

    def first_slot(self) -> Probabilities:
        """Distribution of the first slot."""
        p = self.free.first_slot()
        if 0 in self.pins:
            p = np.zeros_like(p)
            p[self.pins[0]] = 1.0
        return p

    def expected_regret(self, scores: NDArray[np.float64], greedy: Slots) -> float:
        """Score given up in the free slots."""
        return self.free.expected_regret(scores, greedy[self._is_free])

    def marginals(self) -> Probabilities:
        """Probability of each item at each position, (n, k)."""
        found = np.zeros((len(self.free.first_slot()), self.k))
        found[:, self._is_free] = self.free.marginals()
        for slot, item in self.pins.items():
            found[item, slot] = 1.0
        return found
