"""A small reward model for the doubly robust estimates, cross-fitted.

The model is linear in features of (context, action), so what it expects of a policy
is what it makes of the policy's average features: nobody needs n times k predictions.
"""

import numpy as np
from numpy.typing import NDArray

from guards.quality.offpolicy.doubly_robust import Predictions
from guards.quality.offpolicy.logged import Floats, Units

FOLDS = 2
RIDGE = 10.0  # rows that say nothing; an action served ten times is half its own, half the mean


def action_features(context: Floats, probabilities: Floats) -> Floats:
    """Average one linear model per action over a policy.

    Args:
        context: Shape (n, d).
        probabilities: Shape (n, k), of a policy; one-hot for an action that was served.

    Returns:
        Shape (n, k (d + 1)): every action has an intercept and d slopes of its own.
    """
    extended = np.column_stack([np.ones(len(context)), context])
    return (probabilities[:, :, None] * extended[:, None, :]).reshape(len(context), -1)


def one_hot(actions: NDArray[np.integer], count: int) -> Floats:
    """Write served actions as the policy that serves them always, shape (n, count)."""
    return np.asarray(np.eye(count)[actions])


def cross_fit(
    served: Floats,
    target: Floats,
    rewards: Floats,
    *,
    ridge: float = RIDGE,
    units: Units | None = None,
) -> Predictions:
    """Predict every row by a ridge regression that was fitted on the other half.

    A model that has seen the reward it predicts makes the residual too small and
    the interval of DR a lie.  Halves are made of whole units, and alternate in the
    order of the log, so that both see the same times.

    Args:
        served: Shape (n, d), features of (context, served action).
        target: Shape (n, d), the same features averaged over the target policy.
        rewards: Shape (n,).
        ridge: Penalty on the squared coefficients, in rows.
        units: Shape (n,); rows of one unit stay in one half.

    Source: Chernozhukov et al. (2018), "Double/debiased machine learning", for the
    cross-fitting; Hoerl and Kennard (1970) for the ridge.
    """
    fold = _folds(len(rewards), units)
    expected = np.empty((2, len(rewards)))
    for held in range(FOLDS):
        inside = fold == held
        # What is known of no action is its distance from the mean, not from 0.
        mean = float(rewards[~inside].mean()) if not inside.all() else 0.0
        coefficients = _ridge(served[~inside], rewards[~inside] - mean, ridge)
        expected[0, inside] = mean + served[inside] @ coefficients
        expected[1, inside] = mean + target[inside] @ coefficients
    return Predictions(expected[0], expected[1])


def _folds(n: int, units: Units | None) -> NDArray[np.intp]:
    if units is None:
        return np.arange(n) % FOLDS
    _, first, group = np.unique(units, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[group] % FOLDS  # the unit's rank of appearance


def _ridge(features: Floats, rewards: Floats, ridge: float) -> Floats:
    """Solve the penalised normal equations; of no rows, all coefficients are 0."""
    gram = features.T @ features + ridge * np.eye(features.shape[1])
    return np.asarray(np.linalg.solve(gram, features.T @ rewards))
