"""The catalogue of `models/examples`, round after round, with thousands of slates drawn in bulk."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.examples.catalogue import Catalogue, ClickRates, first_model
from simulations.slates import Drawn, best_slots

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


def simulate(catalogue: Catalogue, serve: Serve, *, seed: int) -> list[Round]:
    """Serve and learn, round after round."""
    random = np.random.default_rng([seed, 7])
    model = first_model(catalogue, random)
    rounds = range(1, catalogue.size.rounds + 1)
    return [
        _round(catalogue, model, serve, items=catalogue.size.eligible(t), random=random)
        for t in rounds
    ]


def _round(
    catalogue: Catalogue,
    model: ClickRates,
    serve: Serve,
    *,
    items: int,
    random: np.random.Generator,
) -> Round:
    scores = model.scores()[:, :items]  # this round's; what comes in trains the next
    model.forget()
    requests = catalogue.size.requests // catalogue.size.segments
    served = exploit = oracle = 0.0
    impressions = np.zeros(items, np.int64)
    parts = []
    for segment, own in enumerate(scores):
        slates, uniform = serve(own, requests, random)
        clicks = catalogue.clicks(segment, slates, random)
        model.learn(segment, slates, clicks)
        served += catalogue.value(segment, slates)
        exploit += requests * catalogue.value(segment, best_slots(own)[None, :])
        oracle += requests * catalogue.value(segment, catalogue.best(segment, items))
        impressions += np.bincount(slates.ravel(), minlength=items)
        parts.append((uniform, np.exp(own)[slates], clicks))
    drawn, predicted, clicked = (np.concatenate(column) for column in zip(*parts, strict=True))
    chosen, by_die = (
        (predicted[rows].ravel(), clicked[rows].ravel().astype(np.float64))
        for rows in (~drawn, drawn)
    )
    return Round(served, exploit, oracle, impressions, chosen, by_die)


def totals(rounds: list[Round], items: int) -> NDArray[np.int64]:
    """Impressions of every item over some rounds, shape (items,)."""
    summed = np.zeros(items, np.int64)
    for seen in rounds:
        summed[: len(seen.impressions)] += seen.impressions
    return summed
