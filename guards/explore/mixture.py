"""A mixture of distributions over slates: one part is drawn, and what is told is the mixture."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from guards.explore.rng import Noise
from guards.explore.slate import Draw, Probabilities, SlateDistribution, Slots


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a mixture."""

    name: str
    share: float
    distribution: SlateDistribution


@dataclass(frozen=True)
class Mixture:
    """Draws a part, then a slate from it.  No part is a mixture itself.

    The conditional probability of a slot is that of the mixture given the slots before it: every
    part counts by how likely it made those.
    """

    parts: tuple[Part, ...]  # all fill the same slots; shares sum to one

    @classmethod
    def of(cls, parts: Sequence[tuple[str, float, SlateDistribution]]) -> SlateDistribution:
        """Mix; a single part is no mixture."""
        held = tuple(Part(*part) for part in parts if part[1] > 0)
        return held[0].distribution if len(held) == 1 else cls(held)

    @property
    def k(self) -> int:
        """Slots that are filled."""
        return self.parts[0].distribution.k

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        return np.array([part.share for part in self.parts])

    def sample(self, noise: Noise) -> Draw:
        """Draw a part, then its slate."""
        reached = self._shares.cumsum()
        at = int((noise.series("arm", 1)[0] > reached[:-1]).sum())
        draw = self.parts[at].distribution.sample(noise)
        name = self.parts[at].name
        return Draw(draw.slots, f"{name}/{draw.component}" if draw.component else name)

    def cond_probs(self, slots: Slots) -> Probabilities:
        """Probability of each slot's item given the slots before it."""
        conditional = np.stack([part.distribution.cond_probs(slots) for part in self.parts])
        # Of the whole beginning, by part; 600 orders of magnitude below one there is nothing.
        reached = self._shares[:, None] * np.cumprod(conditional, axis=1)
        total = reached.sum(axis=0)
        before = np.concatenate([[1.0], total[:-1]])
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(before > 0, total / before, 0.0)

    def first_slot(self) -> Probabilities:
        """Distribution of the first slot."""
        parts = [part.share * part.distribution.first_slot() for part in self.parts]
        return np.asarray(np.sum(parts, axis=0))

    def expected_regret(self, scores: NDArray[np.float64], greedy: Slots) -> float:
        """Mean of the parts' by share; each after the greedy choices before it."""
        return sum(
            part.share * part.distribution.expected_regret(scores, greedy) for part in self.parts
        )

    def marginals(self) -> Probabilities:
        """Mean of the parts'.

        Raises:
            NoMarginalsError: one of them has none.
        """
        parts = [part.share * part.distribution.marginals() for part in self.parts]
        return np.asarray(np.sum(parts, axis=0))
