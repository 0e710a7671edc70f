"""A growing catalogue that a model learns from what it served: how a loop starves it, or not.

Sixty retrainings of 3,000 requests each.  Eight segments of users, five slots, 100 items
and two more every round.  A user looks at slot j with probability j^-0.7 and then clicks
with the item's appeal to the segment (Beta(1, 9)).  The model is a smoothed click rate
per segment and item that forgets a tenth per round, knows nothing of positions, and
starts every item at half the average appeal.  The first log is served by a Zipf law.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.slates import SLOTS, Drawn, best_slots

SEGMENTS = 8
FIRST_ITEMS, NEW_ITEMS = 100, 2
ROUNDS, REQUESTS = 60, 3_000
STEADY = 15  # last rounds, which are reported
EXAMINED = np.arange(1, SLOTS + 1) ** -0.7
FORGET = 0.9
PRIOR_RATE, PRIOR_ROWS = 0.05, 20.0
COVERED = 50  # impressions

Floats = NDArray[np.float64]
# From scores (items,), requests and a generator: slates, and which were drawn uniformly.
Serve = Callable[[Floats, int, np.random.Generator], Drawn]


@dataclass
class Round:
    """What one round served, and what the model that served it had expected."""

    served: float  # expected clicks of what was served
    exploit: float  # of the model's own best slates
    oracle: float  # of the truly best slates
    impressions: NDArray[np.int64]  # (items so far,)
    chosen: tuple[Floats, Floats]  # predicted and observed clicks where the model chose
    uniform: tuple[Floats, Floats]  # the same where a die chose


class Catalogue:
    """The world and the model in it."""

    def __init__(self, seed: int) -> None:
        world = np.random.default_rng(seed)
        items = FIRST_ITEMS + NEW_ITEMS * ROUNDS
        self.appeal = world.beta(1, 9, size=(SEGMENTS, items))
        self.born = np.concatenate(
            [np.zeros(FIRST_ITEMS, int), np.repeat(np.arange(1, ROUNDS + 1), NEW_ITEMS)]
        )
        self.random = np.random.default_rng([seed, 7])
        self._clicks = np.zeros((SEGMENTS, items))
        self._shown = np.zeros((SEGMENTS, items))
        popularity = 1.0 / (1 + world.permutation(FIRST_ITEMS))
        for segment in range(SEGMENTS):
            noise = self.random.gumbel(size=(REQUESTS // SEGMENTS, FIRST_ITEMS))
            self._learn(segment, *self._answer(segment, best_slots(np.log(popularity) + noise)))

    def scores(self, items: int) -> Floats:
        """The model: log of the smoothed click rate, shape (SEGMENTS, items)."""
        clicks = self._clicks[:, :items] + PRIOR_RATE * PRIOR_ROWS
        return np.log(clicks / (self._shown[:, :items] + PRIOR_ROWS))

    def run(self, serve: Serve) -> list[Round]:
        """Serve and learn, round after round."""
        return [self._round(FIRST_ITEMS + NEW_ITEMS * t, serve) for t in range(1, ROUNDS + 1)]

    def _round(self, items: int, serve: Serve) -> Round:
        scores = self.scores(items)  # the model of this round; what comes in trains the next
        self._clicks *= FORGET
        self._shown *= FORGET
        served = exploit = oracle = 0.0
        impressions = np.zeros(items, np.int64)
        parts: list[tuple[NDArray[np.bool_], Floats, NDArray[np.bool_]]] = []
        for segment in range(SEGMENTS):
            requests = REQUESTS // SEGMENTS
            slates, uniform = serve(scores[segment], requests, self.random)
            slates, clicked = self._answer(segment, slates)
            self._learn(segment, slates, clicked)
            appeal = self.appeal[segment, :items]
            served += float((EXAMINED * appeal[slates]).sum())
            exploit += requests * float(EXAMINED @ appeal[best_slots(scores[segment])])
            oracle += requests * float(EXAMINED @ appeal[best_slots(appeal)])
            impressions += np.bincount(slates.ravel(), minlength=items)
            parts.append((uniform, np.exp(scores[segment])[slates], clicked))
        uniform, predicted, clicked = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        chosen, drawn = (
            (predicted[rows].ravel(), clicked[rows].ravel().astype(np.float64))
            for rows in (~uniform, uniform)
        )
        return Round(served, exploit, oracle, impressions, chosen, drawn)

    def _answer(
        self, segment: int, slates: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        rates = EXAMINED * self.appeal[segment][slates]
        return slates, self.random.uniform(size=slates.shape) < rates

    def _learn(self, segment: int, slates: NDArray[np.intp], clicked: NDArray[np.bool_]) -> None:
        items = self.appeal.shape[1]
        self._shown[segment] += np.bincount(slates.ravel(), minlength=items)
        self._clicks[segment] += np.bincount(slates[clicked], minlength=items)

    def good_newcomers(self) -> NDArray[np.intp]:
        """Items that came in time and belong into the best slate of some segment."""
        best = np.unique(best_slots(self.appeal))
        return best[(self.born[best] > 0) & (self.born[best] <= ROUNDS - STEADY)]


def totals(rounds: list[Round], items: int) -> NDArray[np.int64]:
    """Impressions of every item over some rounds, shape (items,)."""
    summed = np.zeros(items, np.int64)
    for seen in rounds:
        summed[: len(seen.impressions)] += seen.impressions
    return summed
