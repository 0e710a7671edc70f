"""What probability each action gets: scores and settings in, a distribution out."""

from collections.abc import Collection
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from guards.explore.distribution import Categorical
from guards.settings import Settings
from guards.verdict import Rows


class ExploreSettings(Settings):
    """Settings of `Explorer`; off unless the manifest asks."""

    kind: Literal["none", "single"] = Field(
        default="none",
        description="Whether the model's answer is one choice that may be randomised.",
    )
    policy: Literal["epsilon_greedy"] = Field(
        default="epsilon_greedy", description="How probability is spread over the actions."
    )
    epsilon: float = Field(
        0.05, ge=0, le=1, description="Share of decisions drawn uniformly from all actions."
    )
    floor: float = Field(
        0.0, ge=0, le=0.5, description="Least probability of every action; bounds 1/propensity."
    )
    excluded: tuple[int, ...] = Field(default=(), description="Actions that are never served.")


def eligible(actions: int, excluded: Collection[int]) -> NDArray[np.bool_]:
    """Mark the actions that may be served, shape (k,)."""
    allowed = np.ones(actions, np.bool_)
    allowed[[action for action in excluded if 0 <= action < actions]] = False
    return allowed


def greedy(scores: Rows, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Find the best allowed action of each row; the first of equals, as the model's argmax."""
    ranked = np.where(allowed & ~np.isnan(scores), scores, -np.inf)
    best: NDArray[np.int64] = ranked.argmax(axis=1)
    # A row of nothing but NaN or -inf: the first allowed action, not the first action.
    hopeless = ~allowed[best]
    best[hopeless] = int(allowed.argmax())
    return best


def distribution(
    best: NDArray[np.int64], allowed: NDArray[np.bool_], settings: ExploreSettings
) -> Categorical:
    """Spread epsilon over the allowed actions, give the rest to the greedy one.

    The greedy action has 1 - epsilon + epsilon/m of m allowed actions, not
    1 - epsilon.  The floor mixes in the uniform distribution, which keeps the sum
    at one and every allowed action at or above it.
    """
    count = int(allowed.sum())
    uniform = allowed / count
    chosen = np.zeros((len(best), len(allowed)))
    chosen[np.arange(len(best)), best] = 1.0
    spread = settings.epsilon * uniform + (1 - settings.epsilon) * chosen
    return Categorical((1 - count * settings.floor) * spread + settings.floor * allowed)
