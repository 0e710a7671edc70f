"""Logs whose truth is known: rewards by context and action, a randomised logger, a target."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guards.quality.offpolicy.logged import LoggedData

ACTIONS = 5
DIMENSIONS = 3


@dataclass(frozen=True)
class World:
    data: LoggedData
    context: NDArray[np.float64]
    actions: NDArray[np.int64]
    logging: NDArray[np.float64]
    target: NDArray[np.float64]
    truth: float  # of the target, on these contexts


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def simulate(n: int, *, seed: int, epsilon: float = 0.2) -> World:
    """Log an epsilon-greedy policy; the target is a softmax of other scores."""
    rng = np.random.default_rng(seed)
    weights = np.random.default_rng(0).normal(size=(3, DIMENSIONS, ACTIONS))
    context = rng.normal(size=(n, DIMENSIONS))
    means = 1 / (1 + np.exp(1 - context @ weights[0]))
    best = (context @ (weights[0] + weights[1])).argmax(axis=1)
    logging = np.full((n, ACTIONS), epsilon / ACTIONS)
    logging[np.arange(n), best] += 1 - epsilon
    target = softmax(context @ (weights[0] + 0.5 * weights[2]))
    actions = (rng.uniform(size=(n, 1)) > logging.cumsum(axis=1)).sum(axis=1)
    rows = np.arange(n)
    rewards = (rng.uniform(size=n) < means[rows, actions]).astype(np.float64)
    data = LoggedData(rewards, logging[rows, actions], target[rows, actions])
    truth = float((means * target).sum(axis=1).mean())
    return World(data, context, actions, logging, target, truth)
