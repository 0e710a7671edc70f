"""Rankings: scores and a policy in, a distribution over slates out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guards.explore.mixture import Mixture
from guards.explore.order import ByScore
from guards.explore.order import PlackettLuce as PlackettLuceOrder
from guards.explore.policies import (
    EpsilonGreedy,
    Greedy,
    PlackettLuce,
    SlateMixture,
    UniformBucket,
)
from guards.explore.settings import SlateExplore
from guards.explore.slate import SlateDistribution, Slots
from guards.explore.slotwise import Pool, Slotwise
from guards.explore.swap import Swapped

Part = Greedy | EpsilonGreedy | PlackettLuce | UniformBucket
Vector = NDArray[np.float64]
LOGIT_LEAST = -1e308  # scores further apart than float64 holds are equal there
BISECTIONS = 30  # of tau, over twelve orders of magnitude: 3 % of tau is left


@dataclass(frozen=True, slots=True)
class FreeSlots:
    """What the slots that are not pinned are filled from."""

    scores: Vector  # (n,)
    eligible: NDArray[np.bool_]  # (n,), without pinned candidates
    ranked: Slots  # (k,), the greedy choice
    pool: Pool | None = None


def slate_distribution(
    settings: SlateExplore, free: FreeSlots, *, tau: float | None = None
) -> SlateDistribution:
    """Build the distribution of one decision over its free slots.

    Args:
        settings: Of the manifest.
        free: Finite scores; at least as many eligible candidates as slots.
        tau: In place of a Plackett-Luce policy's own.
    """
    if settings.swap_pairs is not None and len(free.ranked) > 1:
        swap = settings.swap_pairs
        return Swapped.of(free.ranked, len(free.scores), scheme=swap.scheme, share=swap.share)
    policy = settings.policy
    if not isinstance(policy, SlateMixture):
        return Mixture.of(_parts(policy, 1.0, settings, free, tau))
    parts = [
        found
        for part in policy.parts
        for found in _parts(part.policy, part.share, settings, free, None)
    ]
    return Mixture.of(parts)


def _parts(
    part: Part, share: float, settings: SlateExplore, free: FreeSlots, tau: float | None
) -> list[tuple[str, float, SlateDistribution]]:
    match part:
        case Greedy():
            return [("greedy", share, _slotwise(settings, free))]
        case EpsilonGreedy(epsilon=epsilon):
            return [(part.kind, share, _slotwise(settings, free, uniform=epsilon))]
        case PlackettLuce():
            return [(part.kind, share, _slotwise(settings, free, tau=tau or part.tau))]
        case UniformBucket(share=bucket):
            return [
                ("greedy", share * (1 - bucket), _slotwise(settings, free)),
                ("uniform", share * bucket, _slotwise(settings, free, tau=np.inf)),
            ]


def _slotwise(
    settings: SlateExplore, free: FreeSlots, *, uniform: float = 0.0, tau: float | None = None
) -> Slotwise:
    if tau is None:
        order: ByScore | PlackettLuceOrder = ByScore(free.ranked, len(free.scores))
    else:
        with np.errstate(over="ignore"):
            logits = np.maximum((free.scores - free.scores[free.ranked[0]]) / tau, LOGIT_LEAST)
        order = PlackettLuceOrder(logits, free.eligible)
    return Slotwise(
        order,
        free.eligible,
        len(free.ranked),
        uniform=uniform,
        floor=settings.floor,
        pool=free.pool,
    )


def with_less_regret(
    distribution: SlateDistribution, settings: SlateExplore, free: FreeSlots, *, most: float
) -> SlateDistribution:
    """Randomise less if the expected regret is more than ``most``.

    A Plackett-Luce policy is sharpened, its tau found by bisection; everything else is mixed with
    the greedy ranking.  Either way it is a function of the scores, so propensities stay exact.
    """
    regret = distribution.expected_regret(free.scores, free.ranked)
    if regret <= most:
        return distribution
    if isinstance(settings.policy, PlackettLuce) and settings.swap_pairs is None:
        return _sharpened(settings, free, settings.policy.tau, most)
    certain = Slotwise(ByScore(free.ranked, len(free.scores)), free.eligible, len(free.ranked))
    kept = most / regret
    if isinstance(distribution, Mixture):
        parts = [(p.name, p.share * kept, p.distribution) for p in distribution.parts]
    else:
        parts = [(settings.policy.kind, kept, distribution)]
    return Mixture.of([("budget", 1 - kept, certain), *parts])


def _sharpened(
    settings: SlateExplore, free: FreeSlots, tau: float, most: float
) -> SlateDistribution:
    low, high = tau * 1e-12, tau
    found = slate_distribution(settings, free, tau=low)
    for _ in range(BISECTIONS):
        middle = float(np.sqrt(low * high))
        tried = slate_distribution(settings, free, tau=middle)
        if tried.expected_regret(free.scores, free.ranked) <= most:
            low, found = middle, tried
        else:
            high = middle
    return found
