"""Poisson sampling of rows to label: unsure and strange ones more often, each with its propensity.

Source: Zrnic and Candès (2024), "Active statistical inference", ICML: the best propensity is in
proportion to the standard deviation of what a label would tell.
"""

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Floats = NDArray[np.float64]

LEAST_SHARE = 0.2  # of the mean propensity: no row is out of reach, and no weight over 5 / budget
STRANGE = 0.5  # a strange row is as uncertain as one that is wrong half of the time


def propensities(expected_loss: Floats, strange: NDArray[np.bool_], *, budget: float) -> Floats:
    """Give every row its chance to be labelled; they add up to ``budget``.

    Args:
        expected_loss: Shape (n,), chance of the answer to be wrong, in [0, 1].
        strange: Shape (n,), rows that the outlier guard knows nothing like.
        budget: Labels wanted, on average.

    Raises:
        ValueError: the budget is not in (0, n].
    """
    n = len(expected_loss)
    if not 0 < budget <= n:
        raise ValueError(f"{budget:g} labels of {n} rows")
    spread = np.sqrt(expected_loss * (1 - expected_loss))
    worth = np.maximum(spread, np.where(strange, STRANGE, 0.0)) + 1e-9
    least = LEAST_SHARE * budget / n

    def chances(scale: float) -> Floats:
        return np.clip(scale * worth, least, 1.0)

    largest = 1.0 / worth.min()
    if chances(largest).sum() <= budget:
        return np.ones(n)
    scale = brentq(lambda scale: chances(scale).sum() - budget, 0.0, largest, xtol=1e-15)
    return chances(float(scale))


def drawn(keys: list[str], propensity: Floats, *, salt: bytes) -> NDArray[np.bool_]:
    """Draw rows by their own propensity, (n,): the same keys and salt draw the same rows."""
    digests = b"".join(blake2b(key.encode(), key=salt[:64], digest_size=8).digest() for key in keys)
    numbers = np.frombuffer(digests, "<u8") >> np.uint64(11)
    uniform = numbers.astype(np.float64) / 2.0**53
    return np.asarray(uniform < propensity)
