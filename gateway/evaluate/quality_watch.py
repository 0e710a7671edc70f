"""Watches the quality of every live version, from its captured rows and the labels of some."""

import logging
from collections.abc import Callable, Mapping

import numpy as np
from sqlalchemy import Engine

from gateway.evaluate.captured import Captured, Key
from gateway.evaluate.labels import Label, read_labels_of
from gateway.evaluate.performance import MetricReport
from gateway.evaluate.quality_report import QualityReport, SliceReport
from gateway.evaluate.window import Window
from gateway.record.evidence import Evidence
from gateway.registry.database import reading
from gateway.registry.quality import QualityStore
from gateway.registry.registry import Registry
from gateway.registry.routing import RoutingTable
from guards.quality.measured import measure_slices
from guards.quality.scored_measured import measure_scored
from models.bundle import Bundle
from models.manifest import Manifest
from models.prediction import answers_classes

NS_PER_S = 10**9
SHOWN_SLICES = 50

log = logging.getLogger(__name__)


class QualityWatch:
    """All models.  Used from one thread."""

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        evidence: Evidence,
        store: QualityStore,
        open_bundle: Callable[[str], Bundle],
        *,
        alpha: float,
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._evidence = evidence
        self._store = store
        self._open_bundle = open_bundle  # digest -> verified bundle
        self._alpha = alpha
        self._windows: dict[tuple[str, str], Window] = {}

    def tick(self) -> int:
        """Look at every live version; return how many have captured rows."""
        tables = self._registry.tables()
        live = {(table.model, table.live) for table in tables}
        self._windows = {key: window for key, window in self._windows.items() if key in live}
        return sum(self._look(table) for table in tables)

    def _look(self, table: RoutingTable) -> bool:
        rows = self._registry.versions(table.model)
        manifest = next(row.manifest for row in rows if row.version == table.live)
        key = (table.model, table.live)
        if key not in self._windows:
            self._windows[key] = Window(self._engine, self._evidence, manifest)
        window = self._windows[key]
        window.advance()
        captured = window.captured
        if captured is None:
            return False
        with reading(self._engine) as connection:
            ids = list(dict.fromkeys(prediction for prediction, _ in captured.keys))
            labels = read_labels_of(connection, table.model, ids)
        report = report_captured(manifest, captured, labels, alpha=self._alpha)
        self._store.keep(*key, report.model_dump_json())
        return True


def report_captured(
    manifest: Manifest, captured: Captured, labels: Mapping[Key, Label], *, alpha: float
) -> QualityReport:
    """Say what captured rows tell.

    Args:
        manifest: Of their version.
        captured: At least one row.
        labels: Of some of them.
        alpha: Accepted chance that an interval ever misses.
    """
    is_labelled = np.array([key in labels for key in captured.keys])
    known = captured.take(is_labelled)
    values = np.array([labels[key].value for key in known.keys], np.float64)
    return QualityReport(
        version=manifest.version,
        rows=len(captured),
        labelled=len(known),
        since_s=float(captured.arrived_ns.min() / NS_PER_S),
        until_s=float(captured.arrived_ns.max() / NS_PER_S),
        scored=_scored(known, values, alpha),
        slices=_sliced(manifest, known, values, alpha),
    )


def _scored(known: Captured, labels: np.ndarray, alpha: float) -> tuple[MetricReport, ...]:
    """Measure probabilities; a label that is no class of the model's is no label to them."""
    if known.probabilities is None:
        return ()
    fits = is_class(labels, known.probabilities.shape[1])
    if not fits.any():
        return ()
    found = measure_scored(known.probabilities[fits], labels[fits].astype(np.int64), alpha=alpha)
    return tuple(map(MetricReport.of, found))


def is_class(labels: np.ndarray, classes: int) -> np.ndarray:
    """Tell which labels, (n,), are the index of a class."""
    return np.asarray((labels == np.rint(labels)) & (labels >= 0) & (labels < classes))


def _sliced(
    manifest: Manifest, known: Captured, labels: np.ndarray, alpha: float
) -> tuple[SliceReport, ...]:
    """Measure the slices: accuracy where answers are classes, else the mean absolute error."""
    if not len(known) or not known.slices:
        return ()
    metric = "accuracy" if answers_classes(manifest.signature) else "mae"
    slices = {by: values.tolist() for by, values in known.slices.items()}
    found = measure_slices(metric, known.predicted, labels, slices, alpha=alpha)
    return tuple(
        SliceReport(by=one.by, value=one.value, metric=MetricReport.of(one.measured))
        for one in found[:SHOWN_SLICES]
    )
