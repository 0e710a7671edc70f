"""Many slates at once from one model's scores, by the policies of `guards/explore`.

The gateway draws a request at a time from keyed hashes; millions of simulated requests draw
from numpy's generator.  The distributions are the same, and `bench/feed.py` runs the real thing.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

SLOTS = 5
Floats = NDArray[np.float64]
Drawn = tuple[NDArray[np.intp], NDArray[np.bool_]]  # slates (n, SLOTS), uniformly drawn (n,)


def best_slots(keys: Floats, slots: int = SLOTS) -> NDArray[np.intp]:
    """Find the largest ``slots`` along the last axis, largest first."""
    top = np.argpartition(-keys, slots, axis=-1)[..., :slots]
    order = np.argsort(-np.take_along_axis(keys, top, -1), axis=-1)
    return np.take_along_axis(top, order, -1)


def greedy(scores: Floats, requests: int, random: np.random.Generator) -> Drawn:
    """The model's own best, always."""
    return np.tile(best_slots(scores), (requests, 1)), np.zeros(requests, np.bool_)


def uniform(scores: Floats, requests: int, random: np.random.Generator) -> Drawn:
    """Anything, in any order."""
    slates = best_slots(random.uniform(size=(requests, len(scores))))
    return slates, np.ones(requests, np.bool_)


def plackett_luce(
    scores: Floats, requests: int, random: np.random.Generator, *, tau: float
) -> Drawn:
    """In proportion to exp(score / tau), slot after slot, by the Gumbel top-k trick."""
    noise = random.gumbel(size=(requests, len(scores)))
    return best_slots(scores / tau + noise), np.zeros(requests, np.bool_)


def slot_epsilon(
    scores: Floats, requests: int, random: np.random.Generator, *, epsilon: float
) -> Drawn:
    """Every slot: uniformly from what is left with probability epsilon, else the best of it."""
    slates, none = greedy(scores, requests, random)
    explored = random.uniform(size=slates.shape) < epsilon
    rows = np.flatnonzero(explored.any(axis=1))
    keys = random.uniform(size=(len(rows), len(scores)))
    left = np.ones(keys.shape, np.bool_)
    at = np.arange(len(rows))
    for slot in range(SLOTS):
        wanted = np.where(explored[rows, slot, None], keys, scores)
        chosen = np.where(left, wanted, -np.inf).argmax(axis=1)
        slates[rows, slot] = chosen
        left[at, chosen] = False
    return slates, none


def with_bucket(
    scores: Floats,
    requests: int,
    random: np.random.Generator,
    *,
    share: float,
    tau: float | None,
) -> Drawn:
    """Uniform slates for a share of requests, the rest by Plackett-Luce or greedily."""
    if tau is None:
        slates, _ = greedy(scores, requests, random)
    else:
        slates, _ = plackett_luce(scores, requests, random, tau=tau)
    bucket = random.uniform(size=requests) < share
    slates[bucket], _ = uniform(scores, int(bucket.sum()), random)
    return slates, bucket


TAU = 0.13  # scores are logarithms of click rates: 1.14 times the rate is e times the weight
ARMS = {
    "greedy": greedy,
    "uniform bucket 5%": partial(with_bucket, share=0.05, tau=None),
    "slot epsilon 5%": partial(slot_epsilon, epsilon=0.05),
    "plackett-luce": partial(plackett_luce, tau=TAU),
    "plackett-luce + bucket 2%": partial(with_bucket, share=0.02, tau=TAU),
    "uniform": uniform,
}
