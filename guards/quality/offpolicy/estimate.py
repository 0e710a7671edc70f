"""An estimated value, and how each row pulled on it."""

from dataclasses import dataclass

import numpy as np

from guards.quality.offpolicy.logged import Floats, Units


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a policy would have earned per decision, by one estimator.

    Attributes:
        estimator: Its name.
        value: NaN where nothing that the target does was ever served.
        influence: Shape (n,), first-order change of ``value`` times n that a row
            caused; its mean is 0 and its variance divided by n that of ``value``.
        units: As in `LoggedData`.
    """

    estimator: str
    value: float
    influence: Floats
    units: Units | None = None

    @property
    def terms(self) -> Floats:
        """Pseudo-outcomes: one number per row whose mean is the estimate."""
        return self.value + self.influence

    @property
    def per_unit(self) -> Floats:
        """Influence of each unit, shape (units,): their mean is 0 and their variance,
        divided by the number of units, that of ``value``.

        Units are in the order in which they first appear.
        """
        if self.units is None:
            return self.influence
        _, first, group = np.unique(self.units, return_index=True, return_inverse=True)
        summed = np.bincount(group, self.influence)[np.argsort(first)]
        return np.asarray(summed * (len(first) / len(self.influence)))

    def minus(self, other: "Estimate") -> "Estimate":
        """Estimate the difference from another estimate *of the same rows*.

        Paired: what both have in common cancels, so the interval of the difference
        is narrower than those of its parts suggest.

        Raises:
            ValueError: not the same number of rows.
        """
        if self.influence.shape != other.influence.shape:
            raise ValueError("only estimates from the same rows have a paired difference")
        influence = self.influence - other.influence
        name = f"{self.estimator} - {other.estimator}"
        return Estimate(name, self.value - other.value, influence, self.units)


def weighted_mean(values: Floats, weights: Floats) -> tuple[float, Floats]:
    """Average ``values`` by ``weights``, and linearise the ratio.

    Returns:
        The mean, and the influence of each row (the delta method); NaN if all weights are 0.
    """
    total = float(weights.sum())
    if not total > 0:
        return float("nan"), np.full(len(values), np.nan)
    mean = float(weights @ values) / total
    return mean, len(values) * weights * (values - mean) / total
