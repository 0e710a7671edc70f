"""Single choices: scores and a policy in, a distribution over actions out, row by row."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from guards.explore.distribution import Arms, Probabilities
from guards.explore.policies import (
    EpsilonGreedy,
    FromModel,
    Greedy,
    SingleMixture,
    Softmax,
    SquareCb,
    UniformBucket,
)
from guards.verdict import Rows

Part = Greedy | EpsilonGreedy | Softmax | SquareCb | UniformBucket | FromModel
Policy = Part | SingleMixture
Allowed = NDArray[np.bool_]  # (n, k)
Best = NDArray[np.int64]  # (n,)
Scores = NDArray[np.float64]  # (n, k)


def eligible(actions: int, excluded: Collection[int]) -> NDArray[np.bool_]:
    """Mark the actions that may be served, shape (k,)."""
    allowed = np.ones(actions, np.bool_)
    allowed[[action for action in excluded if 0 <= action < actions]] = False
    return allowed


def greedy(scores: Rows, allowed: NDArray[np.bool_]) -> Best:
    """Find the best allowed action of each row; the first of equals, as the model's argmax.

    Args:
        scores: Shape (n, k).
        allowed: Shape (k,) or (n, k).
    """
    ranked = np.where(allowed & ~np.isnan(scores), scores, -np.inf)
    best: Best = ranked.argmax(axis=1)
    # A row of nothing but NaN or -inf: the first allowed action, not the first action.
    if allowed.ndim == 1:
        allowed = np.broadcast_to(allowed, scores.shape)
    hopeless = ~allowed[np.arange(len(best)), best]
    if hopeless.any():
        best[hopeless] = allowed[hopeless].argmax(axis=1)
    return best


def gaps_of(scores: Scores, allowed: Allowed, best: Best) -> Scores:
    """How far each action is below the best, 0 where it is not allowed, (n, k)."""
    with np.errstate(over="ignore", invalid="ignore"):
        gaps = scores[np.arange(len(best)), best][:, None] - scores
    return np.where(allowed, gaps, 0.0)


def arms_of(
    policy: Policy,
    gaps: Scores,
    allowed: Allowed,
    best: Best,
    *,
    given: Probabilities | None = None,
) -> Arms:
    """Spread probability over the allowed actions of each row.

    Args:
        policy: Of the manifest.
        gaps: Of `gaps_of`.
        allowed: At least one action per row.
        best: The greedy action of each row.
        given: What the model itself returned, for `FromModel`; judged before.
    """
    parts = (
        [(part.share, part.policy) for part in policy.parts]
        if isinstance(policy, SingleMixture)
        else [(1.0, policy)]
    )
    rows = len(best)
    uniform = allowed / allowed.sum(axis=1, keepdims=True)
    names: list[str] = []
    shares: list[float] = []
    found: list[Probabilities] = []
    for share, part in parts:
        for name, inner, p in _parts(part, gaps, allowed, best, uniform, given):
            names.append(name)
            shares.append(share * inner)
            found.append(p)
    return Arms(tuple(names), np.tile(np.array(shares), (rows, 1)), tuple(found))


def _parts(
    part: Part,
    gaps: Scores,
    allowed: Allowed,
    best: Best,
    uniform: Probabilities,
    given: Probabilities | None,
) -> list[tuple[str, float, Probabilities]]:
    match part:
        case Greedy():
            return [("greedy", 1.0, one_hot(best, allowed.shape[1]))]
        case EpsilonGreedy():
            chosen = one_hot(best, allowed.shape[1])
            p = part.epsilon * uniform + (1 - part.epsilon) * chosen
            return [(part.kind, 1.0, p)]
        case Softmax():
            return [(part.kind, 1.0, softmax(gaps, allowed, np.full(len(best), part.tau)))]
        case SquareCb():
            return [(part.kind, 1.0, square_cb(gaps, allowed, best, part.gamma))]
        case UniformBucket():
            chosen = one_hot(best, allowed.shape[1])
            return [("greedy", 1 - part.share, chosen), ("uniform", part.share, uniform)]
        case FromModel():
            assert given is not None
            masked = np.where(allowed, given.astype(np.float64), 0.0)
            return [(part.kind, 1.0, masked / masked.sum(axis=1, keepdims=True))]


def one_hot(best: Best, actions: int) -> Probabilities:
    """All probability on one action per row."""
    p = np.zeros((len(best), actions))
    p[np.arange(len(best)), best] = 1.0
    return p


def softmax(gaps: Scores, allowed: Allowed, taus: NDArray[np.float64]) -> Probabilities:
    """In proportion to exp(-gap / tau), tau (n,); no gap is negative, so nothing overflows."""
    with np.errstate(over="ignore"):
        weights = np.where(allowed, np.exp(-gaps / taus[:, None]), 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def square_cb(gaps: Scores, allowed: Allowed, best: Best, gamma: float) -> Probabilities:
    """Give 1 / (mu + gamma gap) to all but the best, which takes the rest.

    mu is the number of actions that are really there: with a smaller one the rest turns negative,
    which is what ``vw --squarecb --elim`` does.
    """
    count = allowed.sum(axis=1, keepdims=True)
    with np.errstate(over="ignore"):
        p = np.where(allowed, 1.0 / (count + gamma * gaps), 0.0)
    at = np.arange(len(best))
    p[at, best] = 0.0
    p[at, best] = 1.0 - p.sum(axis=1)
    return p


def with_floor(arms: Arms, allowed: Allowed, floor: float) -> Arms:
    """Mix in as little of the uniform distribution as lifts every allowed action to ``floor``.

    Exact and a sum of one, unlike clamping and rescaling.  ``floor`` times the number of allowed
    actions is at most one.
    """
    p = arms.mixture.p
    least = np.where(allowed, p, np.inf).min(axis=1)
    if (least >= floor).all():
        return arms
    count = allowed.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (floor - least) / (1 / count - least)
    share = np.where(least < floor, np.clip(share, 0.0, 1.0), 0.0)
    return _mix(arms, "floor", share, allowed / count[:, None])


def with_less_regret(
    arms: Arms, policy: Policy, gaps: Scores, allowed: Allowed, best: Best, *, most: Scores
) -> Arms:
    """Randomise less where the expected regret would be more than ``most`` (n,).

    A softmax is sharpened: its tau is found by bisection.  Everything else is mixed with greedy.
    """
    regret = expected_regret(arms, gaps)
    over = regret > most
    if not over.any():
        return arms
    if isinstance(policy, Softmax):
        taus = np.where(over, _taus_for(gaps, allowed, most, policy.tau), policy.tau)
        return Arms(arms.names, arms.shares, (softmax(gaps, allowed, taus),))
    kept = np.where(over, most, 1.0) / np.where(over, regret, 1.0)
    return _mix(arms, "greedy", 1 - kept, one_hot(best, allowed.shape[1]))


def _mix(arms: Arms, name: str, share: NDArray[np.float64], p: Probabilities) -> Arms:
    shares = np.column_stack([arms.shares * (1 - share)[:, None], share])
    return Arms((*arms.names, name), shares, (*arms.parts, p))


def _taus_for(
    gaps: Scores, allowed: Allowed, most: NDArray[np.float64], tau: float
) -> NDArray[np.float64]:
    """Find the largest tau per row whose expected regret is at most ``most``: it grows with tau."""
    low, high = np.full(len(gaps), tau * 1e-12), np.full(len(gaps), tau)
    for _ in range(60):
        middle = np.sqrt(low * high)
        regret = (softmax(gaps, allowed, middle) * gaps).sum(axis=1)
        low, high = np.where(regret <= most, middle, low), np.where(regret <= most, high, middle)
    return low


def expected_regret(arms: Arms, gaps: Scores) -> NDArray[np.float64]:
    """Score given up in expectation, (n,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray((arms.mixture.p * gaps).sum(axis=1))
