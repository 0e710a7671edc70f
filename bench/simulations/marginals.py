"""T3: probability of every item at every position, against the enumeration of all rankings."""

import time
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.explore.marginals import plackett_luce_marginals

CASES = ((6, 3), (7, 4), (8, 5), (9, 4))


def enumerated(weights: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Add up the probabilities of all rankings of ``k``, shape (n, k)."""
    n = len(weights)
    orders = np.array(list(permutations(range(n), k)))
    chosen = weights[orders]
    left = np.array([weights.sum()] * len(orders))
    p = np.ones(len(orders))
    for slot in range(k):
        p *= chosen[:, slot] / left
        # What is left is added up, not subtracted: the weights are far apart.
        left = np.array(weights.sum() - chosen[:, : slot + 1].sum(axis=1))
        close = left < 1e-6 * weights.sum()
        for row in np.flatnonzero(close):
            rest = np.delete(weights, orders[row, : slot + 1])
            left[row] = rest.sum()
    found = np.zeros((n, k))
    for slot in range(k):
        np.add.at(found[:, slot], orders[:, slot], p)
    return found


def measure(*, seed: int, repeats: int) -> dict[str, Any]:
    """Largest error over spread weights, and the time of a thousand candidates."""
    random = np.random.default_rng([seed, 3])
    errors = {}
    for n, k in CASES:
        for spread in (1.0, 10.0, 19.0):  # up to exp(19) = 2e8 between the weights
            weights = np.exp(random.uniform(0, spread, n))
            off = np.abs(plackett_luce_marginals(weights, k) - enumerated(weights, k)).max()
            errors[f"n={n} k={k} spread e^{spread:g}"] = float(off)
    weights = np.exp(random.normal(size=1_000))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        table = plackett_luce_marginals(weights, 10)
        times.append(time.perf_counter() - start)
    worst, fastest = max(errors.values()), min(times)
    return {
        "largest error": errors,
        "n=1000 k=10": {
            "s": times,
            "columns off 1": float(np.abs(table.sum(axis=0) - 1).max()),
        },
        "targets": {
            "T3 error <= 1e-10": {"found": worst, "holds": worst <= 1e-10},
            "T3 n=1,000, k=10 within .1 s": {"found": fastest, "holds": fastest <= 0.1},
        },
    }
