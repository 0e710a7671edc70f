"""Both ends of an interval, and how it may be read."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """Holds the value with probability 1 - alpha; ``anytime``: at all looks together."""

    low: float
    high: float
    alpha: float
    anytime: bool

    def __contains__(self, value: float) -> bool:
        """Tell whether ``value`` is not excluded; NaN ends exclude nothing."""
        return not (value < self.low or value > self.high)
