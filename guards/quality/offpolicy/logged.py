"""Logged decisions, beside what another policy would have done.  START here in this folder."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guards.quality.offpolicy.errors import NotExploredError

Floats = NDArray[np.float64]
Units = NDArray[np.int64]  # (n,), any number per unit of randomisation, e.g. a hash of the user

EXPLORED_MODE = "on"
PROBABILITY_SLACK = 1e-6  # what float32 logs exceed 1 by is ten times less


@dataclass(frozen=True, slots=True)
class LoggedData:
    """One row per decision, in the order in which they were made.

    Rows on which the gate was closed (propensity 1) belong in here: leaving them
    out would answer the question for the requests that were allowed to explore.

    Attributes:
        rewards: Shape (n,), what the served action earned, joined over a full window.
        propensities: Shape (n,), in (0, 1], probability with which it was served.
        target: Shape (n,), in [0, 1], probability with which the evaluated policy serves it.
        units: Shape (n,) or None; rows of one unit are not independent.
        pdrop: Shape (n,) or None, in [0, 1), probability with which such a row was
            left out of the log; a kept row stands for 1 / (1 - pdrop) rows.
    """

    rewards: Floats
    propensities: Floats
    target: Floats
    units: Units | None = None
    pdrop: Floats | None = None

    def __post_init__(self) -> None:
        """Refuse what no estimate may be made of.

        Raises:
            ValueError: no row, lengths differ, a number is not finite, or a probability
                is outside its range.
        """
        n = len(self.rewards)
        columns = [self.rewards, self.propensities, self.target, self.units, self.pdrop]
        if n == 0 or any(column is not None and column.shape != (n,) for column in columns):
            raise ValueError("logged columns must be of one length, and hold a row at least")
        if not np.isfinite(self.rewards).all():
            raise ValueError("rewards must be finite")
        top = 1 + PROBABILITY_SLACK
        if not ((self.propensities > 0) & (self.propensities <= top)).all():
            raise ValueError("propensities must be in (0, 1]")
        if not ((self.target >= 0) & (self.target <= top)).all():
            raise ValueError("target probabilities must be in [0, 1]")
        if self.pdrop is not None and not ((self.pdrop >= 0) & (self.pdrop < 1)).all():
            raise ValueError("pdrop must be in [0, 1)")

    def __len__(self) -> int:
        """Count the rows that are in the log."""
        return len(self.rewards)

    @property
    def weights(self) -> Floats:
        """How much more often the target serves what was served, shape (n,)."""
        return self.target / self.propensities

    @property
    def counts(self) -> Floats:
        """How many decisions each row stands for, shape (n,)."""
        return np.ones(len(self)) if self.pdrop is None else 1 / (1 - self.pdrop)


def check_modes(modes: Iterable[str]) -> None:
    """Refuse rows whose logged propensity is not that of what was served.

    Raises:
        NotExploredError: naming the first mode other than ``on`` and how many rows have it.
    """
    counted: dict[str, int] = {}
    for mode in modes:
        if mode != EXPLORED_MODE:
            counted[mode] = counted.get(mode, 0) + 1
    for mode, rows in counted.items():
        raise NotExploredError(mode, rows)
