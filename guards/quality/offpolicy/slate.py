"""Logged rankings: a reward and a conditional propensity per slot."""

from dataclasses import dataclass

import numpy as np

from guards.quality.offpolicy.logged import PROBABILITY_SLACK, Floats, LoggedData, Units


@dataclass(frozen=True, slots=True)
class SlateData:
    """One row per ranking of ``k`` slots.

    Attributes:
        rewards: Shape (n, k), what each slot earned.
        logging: Shape (n, k), in (0, 1]: probability of the item served in slot j,
            given the items in the slots before it.
        target: Shape (n, k), in [0, 1]: the same of the evaluated policy, given *the
            served* items before it.
        logging_marginal, target_marginal: Shape (n, k) or None: probability of the item
            in slot j whatever stands before it; only `independent` needs them.
        factored: Whether the logger draws every slot independently of the others.
        slot_weights: Shape (k,) or None; what a slot's reward counts, 1 each if None.
    """

    rewards: Floats
    logging: Floats
    target: Floats
    logging_marginal: Floats | None = None
    target_marginal: Floats | None = None
    factored: bool = False
    units: Units | None = None
    pdrop: Floats | None = None
    slot_weights: Floats | None = None

    def __post_init__(self) -> None:
        """Refuse what no estimate may be made of.

        Raises:
            ValueError: shapes differ, or a probability is outside its range.
        """
        shape = self.rewards.shape
        tables = (self.logging, self.target, self.logging_marginal, self.target_marginal)
        if len(shape) != 2 or 0 in shape:
            raise ValueError("rewards must be of shape (n, k) with a row and a slot at least")
        if any(table is not None and table.shape != shape for table in tables):
            raise ValueError(f"every table of probabilities must be of shape {shape}")
        for table in (self.logging, self.logging_marginal):
            if table is not None and not (table > 0).all():
                raise ValueError("propensities must be above 0")
        for table in tables:
            if table is not None and not ((table >= 0) & (table <= 1 + PROBABILITY_SLACK)).all():
                raise ValueError("probabilities must be in [0, 1]")
        if not np.isfinite(self.rewards).all():
            raise ValueError("rewards must be finite")
        for column in (self.units, self.pdrop):
            if column is not None and column.shape != shape[:1]:
                raise ValueError(f"units and pdrop must be of shape {shape[:1]}")

    @property
    def ratios(self) -> Floats:
        """How much more often the target continues with the served item, shape (n, k)."""
        return self.target / self.logging

    @property
    def counted(self) -> Floats:
        """Rewards times what their slot counts, shape (n, k)."""
        return self.rewards if self.slot_weights is None else self.rewards * self.slot_weights

    @property
    def whole(self) -> LoggedData:
        """Every ranking as one choice, for `diagnose`: that of all its slots together."""
        return LoggedData(
            self.counted.sum(axis=1),
            np.minimum(self.logging.prod(axis=1), 1.0),
            np.minimum(self.target.prod(axis=1), 1.0),
            self.units,
            self.pdrop,
        )

    @property
    def counts(self) -> Floats:
        """How many decisions each row stands for, shape (n,)."""
        return np.ones(len(self.rewards)) if self.pdrop is None else 1 / (1 - self.pdrop)
