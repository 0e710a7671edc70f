"""Watches the quality of every live version, from its captured rows and the labels of some."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import TypeAdapter
from sqlalchemy import Engine

from gateway.evaluate.captured import Captured, Key
from gateway.evaluate.delayed import adjust_captured
from gateway.evaluate.estimated import estimate_quality
from gateway.evaluate.expected import open_held_out
from gateway.evaluate.labels import Label, read_labels_of
from gateway.evaluate.performance import MetricReport
from gateway.evaluate.prior import PriorReport, judge_prior
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
from models.held_out import HeldOut, is_class
from models.manifest import Manifest
from models.prediction import answers_classes

NS_PER_S = 10**9
SHOWN_SLICES = 50
PRIOR_SHARE = 0.5  # of the window: bootstraps take seconds, so not at every look

_priors = TypeAdapter(tuple[PriorReport, ...])


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
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._clock_ns = clock_ns
        self._engine = engine
        self._registry = registry
        self._evidence = evidence
        self._store = store
        self._open_bundle = open_bundle  # digest -> verified bundle
        self._alpha = alpha
        self._watched: dict[tuple[str, str], _Watched] = {}

    def tick(self) -> int:
        """Look at every live version; return how many have captured rows."""
        tables = self._registry.tables()
        live = {(table.model, table.live) for table in tables}
        self._watched = {key: one for key, one in self._watched.items() if key in live}
        return sum(self._look(table) for table in tables)

    def _look(self, table: RoutingTable) -> bool:
        key = (table.model, table.live)
        watched = self._watched.get(key) or self._begin(table)
        self._watched[key] = watched
        watched.unjudged += watched.window.advance()
        captured = watched.window.captured
        if captured is None:
            return False
        with reading(self._engine) as connection:
            ids = list(dict.fromkeys(prediction for prediction, _ in captured.keys))
            labels = read_labels_of(connection, table.model, ids)
        report = report_captured(
            watched.manifest,
            captured,
            labels,
            held_out=watched.held_out,
            alpha=self._alpha,
            now_ns=self._clock_ns(),
        )
        if watched.unjudged >= PRIOR_SHARE * len(captured):
            watched.prior = self._judge_prior(watched, captured)
            watched.unjudged = 0
        prior = _priors.dump_json(watched.prior).decode()
        self._store.keep(*key, report.model_dump_json(), prior=prior)
        return True

    def _begin(self, table: RoutingTable) -> "_Watched":
        rows = self._registry.versions(table.model)
        row = next(row for row in rows if row.version == table.live)
        held_out = open_held_out(self._open_bundle, row.digest)
        window = Window(self._engine, self._evidence, row.manifest)
        return _Watched(row.manifest, window, held_out)

    def _judge_prior(self, watched: "_Watched", captured: Captured) -> tuple[PriorReport, ...]:
        if watched.held_out is None or watched.held_out.classes is None:
            return ()
        return judge_prior(watched.held_out.classes, captured, alpha=self._alpha)


@dataclass
class _Watched:
    """One live version.  Only `QualityWatch` changes it."""

    manifest: Manifest
    window: Window
    held_out: HeldOut | None
    unjudged: int = 0  # rows since the frequencies of classes were compared last
    prior: tuple[PriorReport, ...] = ()


def report_captured(
    manifest: Manifest,
    captured: Captured,
    labels: Mapping[Key, Label],
    *,
    held_out: HeldOut | None,
    alpha: float,
    now_ns: int,
) -> QualityReport:
    """Say what captured rows tell.

    Args:
        manifest: Of their version.
        captured: At least one row.
        labels: Of some of them.
        held_out: What estimates without labels start from.
        alpha: Accepted chance that an interval ever misses.
        now_ns: Unix.
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
        estimated=estimate_quality(manifest, held_out, captured),
        delayed=adjust_captured(captured, labels, held_out, now_ns=now_ns),
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
