"""Probabilities of classes, from whatever a classifier answers with."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from guards.verdict import Rows

Probabilities = NDArray[np.float64]  # (n, classes)

LEAST = 1e-12  # stands for a probability of 0, whose logarithm is -inf


@dataclass(frozen=True, slots=True)
class ClassReading:
    """How to read the numbers of an answer as classes."""

    role: Literal["probabilities", "logits"]
    width: int  # numbers per row; one number speaks for the second of two classes

    @property
    def classes(self) -> int:
        """How many there are."""
        return max(2, self.width)

    def logits(self, answers: Rows) -> Probabilities:
        """Give log-odds up to a constant per row, shape (n, classes), of answers (n, width)."""
        values = np.asarray(answers, np.float64)
        if self.role == "logits":
            return np.hstack([np.zeros_like(values), values]) if self.width == 1 else values
        if self.width == 1:
            values = np.hstack([1 - values, values])
        return np.asarray(np.log(np.maximum(values, LEAST)))

    def probabilities(self, answers: Rows) -> Probabilities:
        """Give the probability of each class, as the model states it."""
        values = np.asarray(answers, np.float64)
        if self.width == 1:
            second = expit(values) if self.role == "logits" else values
            return np.hstack([1 - second, second])
        return values if self.role == "probabilities" else softmax(values)


def softmax(logits: Probabilities) -> Probabilities:
    """Turn log-odds (n, classes) into probabilities."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
