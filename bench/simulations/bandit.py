"""Logged single choices whose truth is known: ten actions, epsilon-greedy, a softmax to judge.

The reward is 0 or 1 with a logistic mean in five features; the logger prefers by noisy
coefficients, the target by coefficients that are noisy in another way.  Truth is that of the
target over the contexts' distribution, from a million contexts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guards.quality.offpolicy.doubly_robust import Predictions
from guards.quality.offpolicy.logged import LoggedData
from guards.quality.offpolicy.reward_model import action_features, cross_fit, one_hot

ACTIONS, FEATURES = 10, 5
TRUTH_CONTEXTS = 1_000_000
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Log:
    """One simulated log, with a cross-fitted reward model."""

    data: LoggedData
    predictions: Predictions


class BanditWorld:
    """Coefficients of the reward, of the logger and of the target, fixed by the seed."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self._reward = random.normal(size=(FEATURES, ACTIONS))
        self._logger = self._reward + random.normal(size=(FEATURES, ACTIONS))
        self._target = self._reward + 0.5 * random.normal(size=(FEATURES, ACTIONS))
        context = random.normal(size=(TRUTH_CONTEXTS, FEATURES))
        self.truth = float((self._means(context) * self._softmax(context)).sum(axis=1).mean())

    def log(self, n: int, *, epsilon: float, random: np.random.Generator) -> Log:
        """Draw contexts, actions and rewards."""
        context = random.normal(size=(n, FEATURES))
        rows = np.arange(n)
        best = (context @ self._logger).argmax(axis=1)
        actions = np.where(random.uniform(size=n) < epsilon, random.integers(0, ACTIONS, n), best)
        p = epsilon / ACTIONS + (1 - epsilon) * (actions == best)
        rewards = (random.uniform(size=n) < self._means(context)[rows, actions]).astype(float)
        target = self._softmax(context)
        predictions = cross_fit(
            action_features(context, one_hot(actions, ACTIONS)),
            action_features(context, target),
            rewards,
        )
        return Log(LoggedData(rewards, p, target[rows, actions]), predictions)

    def _means(self, context: Floats) -> Floats:
        return np.asarray(1 / (1 + np.exp(1 - context @ self._reward)))

    def _softmax(self, context: Floats) -> Floats:
        scores = context @ self._target
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))
