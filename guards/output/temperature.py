"""Temperatures: how much surer a classifier says it is than it turns out to be.

Source: Guo, Pleiss, Sun, Weinberger (2017), "On calibration of modern neural networks", ICML; one
per predicted class after Frenkel and Goldberger (2021), "Network calibration by class-based
temperature scaling", EUSIPCO.  As in Platt (1999), "Probabilistic outputs for support vector
machines", one row in n + 2 counts as if it were of its second likeliest class: a model that was
right about every row of a few is not certain.
"""

import numpy as np
from numpy.typing import NDArray

from guards.output.classes import Probabilities, softmax

LEAST_ROWS = 100  # predicted as one class; of fewer, a temperature is mostly noise
RANGE = (-3.0, 3.0)  # of its logarithm: twenty times too sure, or too unsure


def fit_temperatures(logits: Probabilities, labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Fit one temperature per predicted class, shape (classes,); the common one where rows lack.

    Args:
        logits: Shape (n, classes), of rows that the model was not fitted on.
        labels: Shape (n,), their true classes.
    """
    common = _fit(logits, labels)
    said = logits.argmax(axis=1)
    temperatures = np.full(logits.shape[1], common)
    for known in range(logits.shape[1]):
        rows = said == known
        if rows.sum() >= LEAST_ROWS:
            temperatures[known] = _fit(logits[rows], labels[rows])
    return temperatures


def temper(logits: Probabilities, temperatures: NDArray[np.float64]) -> Probabilities:
    """Give calibrated probabilities: each row by the temperature of its likeliest class."""
    return softmax(logits / temperatures[logits.argmax(axis=1)][:, None])


def _fit(logits: Probabilities, labels: NDArray[np.integer]) -> float:
    """Minimise the mean negative log-likelihood over one temperature; 1 of no rows."""
    n = len(logits)
    if not n:
        return 1.0
    # Imported here: it takes longer than the rest of the guards, and only packing needs it.
    from scipy.optimize import minimize_scalar

    unsure = 1 / (n + 2)
    second = np.partition(logits, -2, axis=1)[:, -2]
    told = (1 - unsure) * logits[np.arange(n), labels] + unsure * second

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        scaled = logits / temperature
        top = scaled.max(axis=1)
        total = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float((total - told / temperature).mean())

    return float(np.exp(minimize_scalar(loss, bounds=RANGE, method="bounded").x))
