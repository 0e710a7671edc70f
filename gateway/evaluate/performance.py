"""Right and wrong, measured on the rows whose label is known; read from the tables when asked."""

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, func, select

from gateway.evaluate import tables
from gateway.evaluate.cells import OWN
from gateway.evaluate.tallies import latest_labels
from guards.quality.measured import Measured, measure
from guards.quality.metrics import OF_CLASSES, OF_NUMBERS
from guards.settings import Settings
from models.manifest import Manifest
from models.prediction import answers_classes

MOST_PAIRS = 100_000  # of different values; the rest of them adds nothing to an interval
OF_TEXTS = ("accuracy", "error_rate")  # a text has no class to average over

Pairs = tuple[NDArray[np.float64], NDArray[np.float64]]  # predictions and labels, (n,) each


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
    connection: Connection, manifest: Manifest, *, alpha: float
) -> tuple[MetricReport, ...]:
    """Measure the rows that a version answered itself and that have a label; none: nothing."""
    predicted, labels = read_pairs(connection, manifest.name, manifest.version)
    if not len(labels):
        return ()
    return tuple(
        MetricReport.of(measure(name, predicted, labels, alpha=alpha))
        for name in metrics_of(manifest)
    )


def read_pairs(connection: Connection, model: str, version: str) -> Pairs:
    """Join labels with what a version answered itself."""
    latest, predictions, requests = latest_labels(model), tables.predictions.c, tables.requests.c
    of_row = and_(
        predictions.model == model,
        predictions.prediction_id == latest.c.prediction_id,
        predictions.row == latest.c.row,
    )
    of_request = and_(requests.model == model, requests.prediction_id == latest.c.prediction_id)
    query = (
        select(predictions.predicted, latest.c.label, func.count())
        .select_from(latest)
        .join(tables.predictions, of_row)
        .join(tables.requests, of_request)
        .where(requests.version == version, requests.served_by.in_(OWN))
        .where(predictions.predicted.is_not(None))
        .group_by(predictions.predicted, latest.c.label)
        .limit(MOST_PAIRS)
    )
    found = np.array([tuple(row) for row in connection.execute(query)], np.float64).reshape(-1, 3)
    counts = found[:, 2].astype(np.int64)
    return np.repeat(found[:, 0], counts), np.repeat(found[:, 1], counts)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
