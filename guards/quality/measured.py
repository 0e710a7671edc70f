"""A metric of labelled rows with an interval that stays valid however often one looks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from guards.quality.confidence import confidence_sequence
from guards.quality.metrics import METRICS, Metric, Values
from guards.quality.offpolicy.anytime import asymptotic_sequence
from guards.quality.offpolicy.estimate import Estimate

PLANNED_ROWS = 1000  # labels at which intervals are tightest; any number is valid
LEAST_ROWS = 30  # of a slice: below, an interval would rest on the central limit theorem alone


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric of ``n`` labelled rows.  The ends are NaN where nothing can be said."""

    metric: str
    n: int
    estimate: float
    low: float
    high: float

    @property
    def width(self) -> float:
        """How unsure it is."""
        return self.high - self.low


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows that have one value of one thing, e.g. a class or a segment."""

    by: str
    value: str
    measured: Measured


def measure(name: str, predicted: Values, labels: Values, *, alpha: float) -> Measured:
    """Measure labelled rows, both (n,).

    A mean of values in [0, 1] gets a betting interval, strict at any n; other
    metrics the asymptotic sequence of their first-order terms.

    Raises:
        KeyError: there is no such metric.
        ValueError: not one label per prediction.
    """
    metric, n = METRICS[name], len(labels)
    value = metric(predicted, labels)
    if metric.bounded_mean:
        low, high = confidence_sequence(round(value * n) if n else 0, n, alpha=alpha)
        return Measured(name, n, value, low, high)
    if n < LEAST_ROWS or np.isnan(value):
        return Measured(name, n, value, float("nan"), float("nan"))
    estimate = Estimate(name, value, metric.pulls(predicted, labels))
    interval = asymptotic_sequence(estimate, planned_units=PLANNED_ROWS, alpha=alpha)
    return Measured(name, n, value, interval.low, interval.high)


def measure_slices(
    name: str,
    predicted: Values,
    labels: Values,
    slices: Mapping[str, Sequence[str]],
    *,
    alpha: float,
) -> list[Slice]:
    """Measure every slice of at least `LEAST_ROWS` rows, the surely worst first.

    ``alpha`` is shared among the slices, so that the chance that any of their intervals ever
    misses is at most that: the worst of many slices is not worst by luck.

    Args:
        name: Of the metric.
        predicted, labels: Shape (n,).
        slices: What to slice by, with the value of each row, n of them.
        alpha: For all slices together.
    """
    cells = [
        (by, str(value), np.flatnonzero(keys == value))
        for by, keys in ((by, np.asarray(values)) for by, values in slices.items())
        for value in np.unique(keys)
    ]
    large = [cell for cell in cells if len(cell[2]) >= LEAST_ROWS]
    share = alpha / max(len(large), 1)
    found = [
        Slice(by, value, measure(name, predicted[rows], labels[rows], alpha=share))
        for by, value, rows in large
    ]
    return sorted(found, key=lambda one: _surely_bad(METRICS[name], one.measured))


def _surely_bad(metric: Metric, measured: Measured) -> float:
    """Order by the better end: what even the kind reading says of it."""
    end = measured.high if metric.larger_is_better else -measured.low
    return end if not np.isnan(end) else float("inf")
