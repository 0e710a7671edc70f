"""All label-free estimates side by side: where they differ, none is to be believed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from guards.quality.unlabelled.confidence_based import atc, cbpe, doc
from guards.quality.unlabelled.reweighted import pape
from guards.quality.unlabelled.source import Labelled, Unlabelled

LEAST_ROWS = 100  # of either kind

Estimator = Callable[[Labelled, Unlabelled], float]
ESTIMATORS: tuple[tuple[str, Estimator, str], ...] = (
    ("cbpe", cbpe, "confidence means what it meant on the held-out rows"),
    ("atc", atc, "the share of rows surer than a threshold moves with the accuracy"),
    ("doc", doc, "accuracy falls by as much as mean confidence"),
    ("pape", pape, "labels depend on the features as they did; only the features' mix changed"),
)


@dataclass(frozen=True, slots=True)
class Assumed:
    """One estimate of the accuracy, and what it takes for granted."""

    method: str
    accuracy: float  # NaN: refused
    assumption: str


@dataclass(frozen=True, slots=True)
class EstimatedAccuracy:
    """What the accuracy on traffic probably is.  Not a guarantee: concept drift moves none."""

    estimates: tuple[Assumed, ...]
    held_out: float  # accuracy where labels are known
    rows: int
    strange_share: float | None  # of traffic unlike the reference: there estimates have no support

    @property
    def low(self) -> float:
        """The gloomiest."""
        return min(one.accuracy for one in self.estimates if not np.isnan(one.accuracy))

    @property
    def high(self) -> float:
        """The brightest."""
        return max(one.accuracy for one in self.estimates if not np.isnan(one.accuracy))


def estimate_accuracy(source: Labelled, traffic: Unlabelled) -> EstimatedAccuracy | None:
    """Estimate the accuracy on traffic in every way; None with too few rows to try."""
    if min(len(source.labels), len(traffic.probabilities)) < LEAST_ROWS:
        return None
    strange = traffic.strange
    return EstimatedAccuracy(
        tuple(Assumed(name, method(source, traffic), why) for name, method, why in ESTIMATORS),
        float(source.right.mean()),
        len(traffic.probabilities),
        None if strange is None else float(strange.mean()),
    )
