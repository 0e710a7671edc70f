"""DLE: direct loss estimation for models that answer numbers.

A ridge regression learns the absolute error from the features and the answer, on held-out
rows.  Assumes that errors depend on them as they did.

Source: the method of that name in nannyml; with ridge regression on squares in place of boosting.
"""

import numpy as np

from guards.quality.unlabelled.isotonic import Floats

RIDGE = 1.0
CLIP = 5.0


def dle(features: Floats, errors: Floats, traffic: Floats) -> float:
    """Estimate the mean absolute error on traffic.

    Args:
        features: Shape (n, d), of held-out rows; include the answer itself.
        errors: Shape (n,), absolute, of the held-out rows.
        traffic: Shape (m, d), the same features.
    """
    middle, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)

    def design(rows: Floats) -> Floats:
        scaled = np.clip((rows - middle) / spread, -CLIP, CLIP)
        return np.column_stack([scaled, scaled**2, np.abs(scaled)])

    known = design(features)
    offset, level = known.mean(axis=0), errors.mean()
    centred = known - offset
    gram = centred.T @ centred + RIDGE * np.eye(known.shape[1])
    beta = np.linalg.solve(gram, centred.T @ (errors - level))
    return float(np.maximum(level + (design(traffic) - offset) @ beta, 0.0).mean())
