"""How unsure a classifier is, from its logits alone.  Larger is stranger everywhere.

Sources: Hendrycks and Gimpel (2017), "A baseline for detecting misclassified and
out-of-distribution examples", ICLR (MSP); Hendrycks et al. (2022), "Scaling out-of-distribution
detection for real-world settings", ICML (MaxLogit); Liu et al. (2020), "Energy-based
out-of-distribution detection", NeurIPS; Liu et al. (2023), "GEN: Pushing the limits of
softmax-based out-of-distribution detection", CVPR, with its gamma and its number of classes.
"""

import numpy as np
from numpy.typing import NDArray

GEN_GAMMA = 0.1
GEN_CLASSES = 100  # the largest probabilities; the many small ones of 1,000 classes are noise
LEAST_PROBABILITY = 1e-12  # what a probability of 0 counts as when logits are asked for

MEASURES = ("msp", "max_logit", "energy", "gen")


def measure(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure logits (n, classes): (4, n), in the order of `MEASURES`."""
    best = logits.max(axis=1)
    powers = np.exp(logits - best[:, None])
    total = np.add.reduce(powers, axis=1)
    found = np.empty((4, len(logits)))
    found[0] = -1 / total  # the largest probability
    found[1] = -best
    found[2] = -(best + np.log(total))
    found[3] = _gen(powers / total[:, None])
    return found


def logits_of(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take logarithms; what softmax left out of the logits is gone, so the energy is 0."""
    return np.asarray(np.log(np.maximum(probabilities, LEAST_PROBABILITY)))


def _gen(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum p^γ (1 - p)^γ over the most probable classes: a generalised entropy."""
    if probabilities.shape[1] > GEN_CLASSES:
        probabilities = -np.partition(-probabilities, GEN_CLASSES, axis=1)[:, :GEN_CLASSES]
        probabilities = np.sort(probabilities, axis=1)  # the order of a sum decides its last bit
    spread = np.maximum(probabilities * (1 - probabilities), 0)
    return np.asarray(np.add.reduce(spread**GEN_GAMMA, axis=1))
