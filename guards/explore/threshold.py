"""Approve or deny: which share of those that the threshold denies is approved all the same.

Where nobody is approved there is no label, and no method can be unbiased.

Sources: Kilbertus et al. (2020), "Fair decisions despite imperfect predictions", AISTATS;
Neyman (1934), "On the two different aspects of the representative method", JRSS 97(4).
"""

import numpy as np
from numpy.typing import NDArray

from guards.explore.policies import Boundary, CostAware, UniformReject
from guards.explore.settings import ThresholdExplore

Vector = NDArray[np.float64]
DENY, APPROVE = 0, 1


def greedy_decisions(scores: Vector, settings: ThresholdExplore) -> NDArray[np.int64]:
    """Approve what is on the right side of the threshold; NaN is denied, (n,)."""
    is_approved = (
        scores < settings.threshold if settings.approve == "below" else scores > settings.threshold
    )
    return np.where(is_approved, APPROVE, DENY).astype(np.int64)


def approval(scores: Vector, settings: ThresholdExplore, cost: Vector | None = None) -> Vector:
    """Probability of approval, (n,); 1 where the threshold approves.

    Args:
        scores: Finite.
        settings: Of the manifest.
        cost: Above 0, for `CostAware`.
    """
    sign = 1.0 if settings.approve == "below" else -1.0
    with np.errstate(over="ignore"):
        beyond = sign * (scores - settings.threshold)
    epsilon = np.clip(_epsilon(scores, beyond, settings, cost), 0.0, 1.0)
    epsilon = np.where(sign * (settings.hard_stop - scores) > 0, epsilon, 0.0)
    return np.where(greedy_decisions(scores, settings) == APPROVE, 1.0, epsilon)


def _epsilon(
    scores: Vector, beyond: Vector, settings: ThresholdExplore, cost: Vector | None
) -> Vector:
    match settings.shape:
        case UniformReject(epsilon=epsilon):
            return np.full(len(scores), epsilon)
        case Boundary(epsilon=epsilon, width=width):
            with np.errstate(over="ignore"):
                return np.asarray(epsilon * np.maximum(1 - beyond / width, 0.0))
        case CostAware(scale=scale, least=least, most=most):
            assert cost is not None
            return np.clip(scale * _worth(scores, cost), least, most)


def cost_aware_scale(
    p: Vector, cost: Vector, *, budget: float, least: float = 0.001, most: float = 0.2
) -> float:
    """Find the scale of `CostAware` whose expected cost per denied row is ``budget``.

    Args:
        p: Shape (n,), probability of the bad outcome of rows that the threshold denies.
        cost: Shape (n,), what each wrong approval is expected to cost.
        budget: Mean cost per row of ``p``.
        least: As in the settings.
        most: As in the settings.

    Raises:
        ValueError: the budget is less than ``least`` costs, or more than ``most`` does.
    """
    worth = _worth(p, cost)

    def spent(scale: float) -> float:
        return float((cost * np.clip(scale * worth, least, most)).mean())

    low, high = 0.0, most / float(worth[worth > 0].min())
    if not spent(low) <= budget <= spent(high):
        raise ValueError(f"a budget of {spent(low):g} to {spent(high):g} can be spent")
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) <= budget else (low, middle)
    return low


def _worth(p: Vector, cost: Vector) -> Vector:
    spread = np.clip(p, 0.0, 1.0)
    with np.errstate(over="ignore"):
        return np.asarray(np.sqrt(spread * (1 - spread) / cost))
