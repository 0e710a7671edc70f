"""A distribution over actions: the draw and the logged propensity come from one object."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.errors import GuardError

SUM_TOLERANCE = 1e-12  # float64 rounding of a sum over a few thousand actions stays below
GIVEN_TOLERANCE = 1e-4  # of what a model returns: its softmax may be of 16 bits

Probabilities = NDArray[np.float64]


class InvalidDistributionError(GuardError):
    """What should be a distribution is none: a propensity read from it would be a lie."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        """Say what is wrong with it."""
        return self.problem


@dataclass(frozen=True, slots=True)
class Categorical:
    """One probability per row and action."""

    p: Probabilities  # (n, k)

    def __post_init__(self) -> None:
        """Refuse what is no distribution."""
        check_probabilities(self.p)

    def draw(self, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """Draw one action per row from uniforms in (0, 1], shape (n, k).

        Each action is a clock that rings after -log(u)/p; the first to ring is
        served.  That is the Gumbel-max draw, argmax of log p - log(-log u), with
        one logarithm less, and like it does not depend on the order of actions.
        """
        with np.errstate(all="ignore"):  # what is hardly possible rings at infinity: never
            rings = np.where(self.p > 0, -np.log(uniforms) / self.p, np.inf)
        return np.asarray(rings.argmin(axis=1))

    def propensity(self, actions: NDArray[np.int64]) -> Probabilities:
        """Read the probability with which ``actions`` are drawn, shape (n,)."""
        return self.p[np.arange(len(actions)), actions]


@dataclass(frozen=True)
class Arms:
    """A mixture of categoricals: first an arm is drawn, then an action from it.

    The propensity is that of the mixture, never that of the arm: which arm it was is of no
    matter to whoever was served.
    """

    names: tuple[str, ...]  # of the arms, for the record
    shares: Probabilities  # (n, arms), each row sums to one
    parts: tuple[Probabilities, ...]  # one (n, k) per arm

    @cached_property
    def mixture(self) -> Categorical:
        """The distribution that is told and logged."""
        if len(self.parts) == 1:
            return Categorical(self.parts[0])
        p = self.shares[:, :1] * self.parts[0]
        for at in range(1, len(self.parts)):
            p = p + self.shares[:, at : at + 1] * self.parts[at]
        return Categorical(p)

    def draw(
        self, uniforms: NDArray[np.float64], arm_uniforms: NDArray[np.float64] | None = None
    ) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Draw an arm per row from ``arm_uniforms`` (n,), then its action from ``uniforms``.

        Args:
            uniforms: Shape (n, k).
            arm_uniforms: None: there is one arm only.
        """
        if arm_uniforms is None:
            return self.mixture.draw(uniforms), self.names * len(uniforms)
        arms = pick(self.shares, arm_uniforms)
        p = np.choose(arms[:, None], self.parts) if len(self.parts) <= 32 else self._take(arms)
        return Categorical(p).draw(uniforms), tuple(self.names[arm] for arm in arms.tolist())

    def _take(self, arms: NDArray[np.int64]) -> Probabilities:
        return np.stack(self.parts, axis=1)[np.arange(len(arms)), arms]


def pick(shares: Probabilities, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
    """Pick one of ``m`` arms per row, (n, m), from uniforms in (0, 1], (n,)."""
    reached = shares.cumsum(axis=1)
    reached[:, -1] = np.inf  # rounding must not leave anybody without an arm
    return np.asarray((uniforms[:, None] <= reached).argmax(axis=1))


def check_probabilities(p: Probabilities) -> None:
    """Pass what is finite, at least 0 and sums to 1 in every row.

    Raises:
        InvalidDistributionError: it is something else.
    """
    off = np.abs(p.sum(axis=1) - 1)
    if not ((p >= 0).all() and (off <= SUM_TOLERANCE).all()):  # NaN fails both
        raise InvalidDistributionError("probabilities must be at least 0 and sum to 1")


def given_probabilities(given: NDArray[Any], allowed: NDArray[np.bool_]) -> Sequence[str | None]:
    """Judge what a model returned as its own distribution, row by row: None, or what is wrong.

    A library may be wrong: VW 9.11.9 gives [-8, 1, 1 ...] for ten equal actions with
    ``--squarecb --elim``.
    """
    p = given.astype(np.float64)
    with np.errstate(all="ignore"):
        off = np.abs(p.sum(axis=1) - 1)
        is_sound = (p >= 0).all(axis=1) & (off <= GIVEN_TOLERANCE)
    holds_masked = (np.where(allowed, 0.0, p) != 0).any(axis=1)
    return [
        None if sound and not masked else "invalid_distribution"
        for sound, masked in zip(is_sound.tolist(), holds_masked.tolist(), strict=True)
    ]
