"""Right and wrong, measured on the rows whose label is known."""

import numpy as np

from gateway.evaluate.tallies import LabelTally
from guards.quality.measured import Measured, measure
from guards.quality.metrics import OF_CLASSES, OF_NUMBERS
from guards.settings import Settings
from models.manifest import Manifest
from models.prediction import answers_classes

OF_TEXTS = ("accuracy", "error_rate")  # a text has no class to average over


class MetricReport(Settings):
    """One measure of right and wrong, with an interval that holds at all looks together."""

    metric: str
    n: int  # rows with a label
    estimate: float | None  # None where it is not defined
    low: float | None  # None where nothing bounds it yet
    high: float | None

    @classmethod
    def of(cls, measured: Measured) -> "MetricReport":
        """Tell what was measured; JSON knows no NaN."""
        estimate, low, high = map(_finite, (measured.estimate, measured.low, measured.high))
        return cls(metric=measured.metric, n=measured.n, estimate=estimate, low=low, high=high)

    @property
    def measured(self) -> Measured:
        """Give back what was measured."""
        nan = float("nan")
        ends = (nan if end is None else end for end in (self.estimate, self.low, self.high))
        return Measured(self.metric, self.n, *ends)


def metrics_of(manifest: Manifest) -> tuple[str, ...]:
    """Name the measures that fit what a model answers."""
    if manifest.signature.answer.datatype == "BYTES":
        return OF_TEXTS
    return OF_CLASSES if answers_classes(manifest.signature) else OF_NUMBERS


def measure_labelled(
    manifest: Manifest, labels: LabelTally, *, alpha: float
) -> tuple[MetricReport, ...]:
    """Measure the rows that a version answered itself and that have a label; none: nothing."""
    predicted, true = labels.rows(manifest.version)
    if not len(true):
        return ()
    return tuple(
        MetricReport.of(measure(name, predicted, true, alpha=alpha))
        for name in metrics_of(manifest)
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
