"""Whether classes became more or less frequent, without labels.

Both estimates assume label shift: P(input | class) is what it was, only P(class) changed.  Under
any other drift they are wrong, and nothing here can tell.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from guards.errors import GuardError

Ratios = NDArray[np.float64]  # (k,), P(class) now over P(class) in the reference
Probabilities = NDArray[np.float64]  # (n, k)

UNIMPORTANT = (0.8, 1.25)  # ratios that nobody needs to know about
SINGULAR = 0.05  # least singular value of the confusion matrix of which an inverse is useful
TINY = 1e-12
EM_ROUNDS = 500
EM_TOLERANCE = 1e-8


class AmbiguousClassesError(GuardError):
    """The model tells the classes apart too badly for its answers to say how many there are."""

    def __init__(self, singular: float) -> None:
        super().__init__(singular)
        self.singular = singular

    def __str__(self) -> str:
        """Say how far it is from enough."""
        return f"least singular value of the confusion matrix {self.singular:.3g} < {SINGULAR:g}"


@dataclass(frozen=True, slots=True)
class PriorShift:
    """How the frequency of each class changed, with a bootstrap interval."""

    ratios: Ratios
    low: Ratios
    high: Ratios

    @property
    def shifted(self) -> NDArray[np.bool_]:
        """Classes whose interval lies wholly outside what is unimportant."""
        return (self.high < UNIMPORTANT[0]) | (self.low > UNIMPORTANT[1])


def bbse(confusion: NDArray[np.int64], predicted: NDArray[np.int64]) -> Ratios:
    """Black-box shift estimation: solve for the class ratios that explain the answers.

    Args:
        confusion: Shape (k, k), held-out rows by predicted class (first axis) and label.
        predicted: Shape (k,), traffic by predicted class.

    Raises:
        AmbiguousClassesError: the model's answers do not tell classes apart.

    Source: Lipton, Wang and Smola (2018), "Detecting and correcting for label shift with black
    box predictors", ICML, equation 3.
    """
    joint = confusion / confusion.sum()
    per_class = joint / np.maximum(joint.sum(axis=0), TINY)  # P(predicted | label)
    singular = float(np.linalg.svd(per_class, compute_uv=False).min())
    if singular < SINGULAR:
        raise AmbiguousClassesError(singular)
    now = np.linalg.solve(per_class, predicted / predicted.sum())
    now = np.maximum(now, 0.0)
    ratios: Ratios = now / now.sum() / np.maximum(joint.sum(axis=0), TINY)
    return ratios


def bbse_shift(
    confusion: NDArray[np.int64],
    predicted: NDArray[np.int64],
    *,
    rng: np.random.Generator,
    alpha: float = 0.05,
    rounds: int = 500,
) -> PriorShift:
    """`bbse` with a bootstrap over held-out rows and traffic, ``1 - alpha`` over all classes."""
    flat = confusion.ravel()

    def redraw() -> Ratios:
        table = rng.multinomial(flat.sum(), flat / flat.sum()).reshape(confusion.shape)
        return bbse(table, rng.multinomial(predicted.sum(), predicted / predicted.sum()))

    return _with_interval(bbse(confusion, predicted), redraw, alpha=alpha, rounds=rounds)


@dataclass(frozen=True, slots=True)
class Temperature:
    """Bias-corrected temperature scaling: softmax(log p / temperature + bias)."""

    temperature: float
    bias: NDArray[np.float64]  # (k,)

    @classmethod
    def fit(cls, probabilities: Probabilities, labels: NDArray[np.int64]) -> "Temperature":
        """Fit on held-out rows by maximum likelihood.

        Source: Alexandari, Kundaje and Shrikumar (2020), "Maximum likelihood with
        bias-corrected calibration is hard-to-beat at label shift adaptation", ICML.
        """
        logits = np.log(np.maximum(probabilities, TINY))
        target = np.eye(logits.shape[1])[labels]

        def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            inverse, bias = np.exp(parameters[0]), parameters[1:]
            scaled = logits * inverse + bias
            error = softmax(scaled, axis=1) - target
            value = -(log_softmax(scaled, axis=1) * target).sum() / len(logits)
            slope = np.concatenate([[(error * logits).sum() * inverse], error.sum(axis=0)])
            return float(value), slope / len(logits)

        found = minimize(loss, np.zeros(logits.shape[1] + 1), jac=True, method="L-BFGS-B").x
        return cls(float(np.exp(-found[0])), found[1:])

    def apply(self, probabilities: Probabilities) -> Probabilities:
        """Calibrate."""
        logits = np.log(np.maximum(probabilities, TINY)) / self.temperature + self.bias
        calibrated: Probabilities = softmax(logits, axis=1)
        return calibrated


def mlls(probabilities: Probabilities, prior: NDArray[np.float64]) -> Ratios:
    """Maximum likelihood of the class ratios, by EM.

    Args:
        probabilities: Calibrated answers on traffic, each row summing to 1.
        prior: Shape (k,), class shares of the rows on which they were calibrated.

    Source: Saerens, Latinne and Decaestecker (2002), Neural Computation 14(1).
    """
    ratios = np.ones(len(prior))
    for _ in range(EM_ROUNDS):
        weighted = probabilities * ratios
        weighted /= weighted.sum(axis=1, keepdims=True)
        found: Ratios = weighted.mean(axis=0) / np.maximum(prior, TINY)
        if np.abs(found - ratios).max() < EM_TOLERANCE:
            return found
        ratios = found
    return ratios


def mlls_shift(
    held_out: Probabilities,
    labels: NDArray[np.int64],
    traffic: Probabilities,
    *,
    rng: np.random.Generator,
    alpha: float = 0.05,
    rounds: int = 100,
) -> PriorShift:
    """`mlls` of calibrated answers, with a bootstrap over held-out rows and traffic."""
    classes = held_out.shape[1]

    def estimate(kept: NDArray[np.intp], drawn: NDArray[np.intp]) -> Ratios:
        calibration = Temperature.fit(held_out[kept], labels[kept])
        prior = np.bincount(labels[kept], minlength=classes) / len(kept)
        return mlls(calibration.apply(traffic[drawn]), prior)

    def redraw() -> Ratios:
        return estimate(
            rng.integers(len(held_out), size=len(held_out)),
            rng.integers(len(traffic), size=len(traffic)),
        )

    point = estimate(np.arange(len(held_out)), np.arange(len(traffic)))
    return _with_interval(point, redraw, alpha=alpha, rounds=rounds)


def _with_interval(
    point: Ratios, redraw: Callable[[], Ratios], *, alpha: float, rounds: int
) -> PriorShift:
    """Percentile bootstrap, Bonferroni over classes; a draw that has no answer is left out."""
    draws = []
    for _ in range(rounds):
        try:
            draws.append(redraw())
        except (AmbiguousClassesError, np.linalg.LinAlgError):
            continue
    if not draws:
        return PriorShift(point, np.zeros_like(point), np.full_like(point, np.inf))
    each = alpha / (2 * len(point))
    low, high = np.quantile(draws, [each, 1 - each], axis=0)
    return PriorShift(point, low, high)
