"""A simulated catalogue, and a click-rate model that learns from what it served: a feedback loop.

Users come in segments and see a few slots.  They look at slot j with probability j^-0.7, and
then click with the item's appeal to their segment, Beta(1, 9).  Every round new items come.

The model is what many teams start with: a smoothed click rate per segment and item that
forgets a tenth per round, knows nothing of positions, and starts every item at half the average
appeal.  Served greedily it hardly ever meets what it does not know.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Slates = NDArray[np.int64]  # (n, slots), items by number, first slot first
Clicks = NDArray[np.bool_]  # (n, slots)

FORGET = 0.9  # of what is known, kept per round
PRIOR_RATE, PRIOR_ROWS = 0.05, 20.0


@dataclass(frozen=True, slots=True)
class Size:
    """How large the world is."""

    segments: int = 8
    slots: int = 5
    first_items: int = 100
    new_items: int = 2  # per round
    rounds: int = 60
    requests: int = 3_000  # per round, split evenly among the segments

    @property
    def items(self) -> int:
        """All that will ever be there."""
        return self.first_items + self.new_items * self.rounds

    def eligible(self, round_: int) -> int:
        """How many items are there in a round, from 1; they are numbered in order of arrival."""
        return self.first_items + self.new_items * round_


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is true of the items, which nobody knows but by showing them."""

    size: Size
    appeal: Floats  # (segments, items)
    born: NDArray[np.int64]  # (items,), round of arrival, 0 for the first

    @classmethod
    def of_seed(cls, seed: int, size: Size) -> Self:
        """Draw the appeals."""
        appeal = np.random.default_rng(seed).beta(1, 9, size=(size.segments, size.items))
        arrivals = np.repeat(np.arange(1, size.rounds + 1), size.new_items)
        return cls(size, appeal, np.concatenate([np.zeros(size.first_items, np.int64), arrivals]))

    @property
    def examined(self) -> Floats:
        """Probability that a user looks at each slot, shape (slots,)."""
        return np.asarray(np.arange(1, self.size.slots + 1) ** -0.7, np.float64)

    def clicks(self, segment: int, slates: Slates, random: np.random.Generator) -> Clicks:
        """Let users look and click."""
        rates = self.examined * self.appeal[segment][slates]
        return np.asarray(random.uniform(size=slates.shape) < rates)

    def value(self, segment: int, slates: Slates) -> float:
        """Clicks to be expected from all of some slates."""
        return float((self.examined * self.appeal[segment][slates]).sum())

    def best(self, segment: int, items: int) -> Slates:
        """The slate that earns most of the first ``items``, shape (1, slots)."""
        return np.argsort(-self.appeal[segment, :items])[None, : self.size.slots]

    def good_newcomers(self, *, until: int) -> NDArray[np.int64]:
        """Items that came in round 1 to ``until`` and belong into the best slate of a segment."""
        segments = range(self.size.segments)
        best = np.unique([self.best(segment, self.size.items) for segment in segments])
        return np.asarray(best[(self.born[best] > 0) & (self.born[best] <= until)])


class ClickRates:
    """The model.  `learn` and `forget` change it; `scores` does not."""

    def __init__(self, size: Size) -> None:
        """Know nothing."""
        self._size = size
        self._clicked = np.zeros((size.segments, size.items))
        self._shown = np.zeros((size.segments, size.items))

    def learn(self, segment: int, slates: Slates, clicks: Clicks) -> None:
        """Count what was shown and what was clicked."""
        items = self._size.items
        self._shown[segment] += np.bincount(slates.ravel(), minlength=items)
        self._clicked[segment] += np.bincount(slates[clicks], minlength=items)

    def forget(self) -> None:
        """Age what is known by a round."""
        self._clicked *= FORGET
        self._shown *= FORGET

    def scores(self) -> Floats:
        """Log of the smoothed click rate, shape (segments, items)."""
        clicked = self._clicked + PRIOR_RATE * PRIOR_ROWS
        return np.asarray(np.log(clicked / (self._shown + PRIOR_ROWS)))


def first_model(catalogue: Catalogue, random: np.random.Generator) -> ClickRates:
    """Learn from one round of the first items, served by a Zipf law of popularity."""
    size = catalogue.size
    model = ClickRates(size)
    popularity = -np.log(1.0 + random.permutation(size.first_items))
    for segment in range(size.segments):
        noise = random.gumbel(size=(size.requests // size.segments, size.first_items))
        slates = np.argsort(-(popularity + noise), axis=1)[:, : size.slots]
        model.learn(segment, slates, catalogue.clicks(segment, slates, random))
    return model
