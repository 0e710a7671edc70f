"""The outlier guard: one calibrated score per row.  START here in this folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from guards.columns import column_names
from guards.errors import ReferenceTooSmallError, ShapeMismatchError
from guards.outlier.blame import Extremes, Suspicion
from guards.outlier.choice import Spoil, choose, spoil_rows
from guards.outlier.classes import ByClass
from guards.outlier.conformal import Calibration
from guards.outlier.cross import cross_scores
from guards.outlier.detector import OUTPUT_PRESETS, Detector
from guards.outlier.explain import Explainer
from guards.outlier.gaps import Gaps
from guards.outlier.heads import Answer
from guards.outlier.neighbours import SPARE
from guards.outlier.settings import DetectorName
from guards.outlier.settings import OutlierSettings as OutlierSettings
from guards.outlier.similar import Similar
from guards.outlier.subsample import subsample
from guards.verdict import Action, Guarantee, Rows, Verdict, action_of

LEAST_TO_CHOOSE = 100  # rows; fewer cannot tell detectors apart
Reads = Literal["features", "outputs"]
# What ``auto`` chooses from, the safest first.
FEATURE_CANDIDATES: tuple[DetectorName, ...] = ("mixture", "neighbours", "whitened")
EMBEDDING_CANDIDATES: tuple[DetectorName, ...] = ("whitened", "mixture")
OUTPUT_CANDIDATES: tuple[DetectorName, ...] = (
    "outputs", "classwise", "rmds", "gen", "vim", "energy", "msp", "whitened",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seen:
    """What is remembered of the reference rows to compare a strange one with."""

    rows: NDArray[np.int64]  # (N,), which rows of the reference were kept
    extremes: Extremes


class OutlierGuard:
    """Judges whether a row could have come from the reference.

    An ordinary row is judged strange with probability at most ``alpha``.  That
    holds with probability ``1 - delta`` over the draw of the held-out rows,
    whatever the distribution, as long as they are exchangeable with traffic.  A
    row holding an infinity, or a gap in a column where the reference had none, is strange by
    decree.
    """

    name = "outlier"

    def __init__(
        self,
        settings: OutlierSettings,
        detector: Detector,
        *,
        calibration: Calibration,
        by_class: ByClass | None = None,
        columns: Sequence[str],
        seen: Seen,
        reads: Reads = "features",
    ) -> None:
        """Put finished parts together; `fit` and `from_arrays` make them."""
        self._detector = detector
        self.calibration = calibration
        self._by_class = by_class
        self._columns = tuple(columns)
        self._seen = seen
        self.reads: Reads = reads  # outputs: it judges after the model has answered
        self._explainer = Explainer(
            detector.scales,
            Suspicion.of(detector.scales, detector.basis, seen.extremes, alpha=settings.alpha),
            Similar.of(detector.basis, detector.neighbours.points, count=settings.neighbours),
            self._columns,
            seen.rows if settings.name_nearest else None,
            self.p_values,
            self.threshold,
        )
        self._action = Action.ALLOW if settings.dry_run is True else action_of(settings.action)

    @classmethod
    def fit(
        cls,
        reference: Rows,
        held_out: Rows,
        settings: OutlierSettings,
        *,
        feature_names: Sequence[str] = (),
        tensors: Sequence[slice] = (),
        reads: Reads = "features",
        answer: Answer | None = None,
        spoil: Spoil | None = None,
    ) -> Self:
        """Learn what is ordinary from ``reference``, the threshold from ``held_out``.

        Rows that hold an infinity, or a gap where the reference has none, are left out of
        both: the promise is about rows that can be judged.  Cross-fitted, both are one sample,
        which is reference and calibration at once.

        Each of ``tensors`` are columns without a meaning of their own, such as the pixels of
        an image: they are measured on one scale.  Of rows that are outputs of a model, ``answer``
        says where its logits stand, and ``spoil`` what it answers to reference rows that
        were spoilt (by default, rows themselves are spoilt to choose the detector).

        Raises:
            ShapeMismatchError: the two are not of one width.
            ReferenceTooSmallError: there are not enough rows to be neighbours.
            CalibrationTooSmallError: ``held_out`` cannot support ``alpha`` at ``delta``.
            ValueError: detector or calibration needs logits, and the rows hold none.
        """
        width = reference.shape[-1]
        for rows in (reference, held_out):
            if rows.ndim != 2 or rows.shape[1] != width:
                raise ShapeMismatchError(cls.name, width, rows.shape)
        if settings.calibration == "cross":
            reference, held_out = np.concatenate([reference, held_out]), held_out[:0]
        gaps = Gaps.fit(reference, np.asarray(reference, np.float64))
        # Subsampled before calibration: the threshold must belong to the guard that serves.
        kept = subsample(reference, np.flatnonzero(gaps.usable(reference)), settings.reference_rows)
        sample = reference[kept]
        needed = settings.neighbours + SPARE + 1
        if len(sample) < needed:
            raise ReferenceTooSmallError(cls.name, needed, len(sample))
        fit = partial(Detector.fit, neighbours=settings.neighbours, tensors=tensors, answer=answer)
        preset = settings.detector
        if settings.pyod is not None:
            preset, fit = "mixture", partial(fit, pyod=settings.pyod)
        if preset == "auto":
            preset = _choose(sample, kept, fit, reads=reads, answer=answer, spoil=spoil)
        if answer is None and preset in OUTPUT_PRESETS:
            raise ValueError(f"guards.outlier.detector {preset} needs logits or probabilities")
        if answer is None and settings.per_class:
            raise ValueError("guards.outlier.per_class needs logits or probabilities")
        detector = fit(sample, preset=preset)
        if settings.calibration == "cross":
            calibrating, scores = sample, cross_scores(sample, partial(fit, preset=preset))
        else:
            calibrating = held_out[detector.gaps.usable(held_out)]
            scores = detector.score(calibrating)
        calibration = _calibrate(scores, settings)
        by_class = None
        if settings.per_class:
            order = np.argsort(scores, kind="stable")
            by_class = _calibrate_classes(
                calibration, detector.classes(calibrating)[order], detector, settings
            )
        return cls(
            settings,
            detector,
            calibration=calibration,
            by_class=by_class,
            columns=column_names(feature_names, width),
            seen=Seen(kept.astype(np.int64), Extremes.of(_filled(sample))),
            reads=reads,
        )

    @property
    def threshold(self) -> float:
        """Largest p-value of a strange row."""
        return (self._by_class or self.calibration).threshold

    @property
    def guarantee(self) -> Guarantee:
        """What is promised about ordinary rows."""
        return (self._by_class or self.calibration).guarantee

    @property
    def detector_name(self) -> str:
        """What the score is made of."""
        foreign = self._detector.foreign
        return self._detector.preset if foreign is None else f"pyod {foreign.settings.name}"

    def scores(self, rows: Rows) -> NDArray[np.float64]:
        """Score each of ``n`` rows, shape (n, d): larger is stranger."""
        if rows.ndim != 2 or rows.shape[1] != len(self._columns):
            raise ShapeMismatchError(self.name, len(self._columns), rows.shape)
        return self._detector.score(rows)

    def p_values(self, rows: Rows) -> NDArray[np.float64]:
        """Rank each of ``n`` rows, shape (n, d), among the calibration rows."""
        scores = self.scores(rows)
        if self._by_class is None:
            return self.calibration.p_values(scores)
        return self._by_class.p_values(scores, self._detector.classes(rows))

    def is_strange(self, rows: Rows) -> NDArray[np.bool_]:
        """Find the strange rows without saying why, whatever they lead to."""
        return np.asarray(self.p_values(rows) <= self.threshold)

    def check(self, rows: Rows) -> Verdict:
        """Judge each of ``n`` rows, shape (n, d)."""
        p_values = self.p_values(rows)
        strange = p_values <= self.threshold
        reasons = {}
        if strange.any():
            reasons = self._explainer.explain(rows, p_values, np.flatnonzero(strange))
        return Verdict(
            self.name,
            strange * np.uint8(self._action),
            p_values,
            self.threshold,
            self.guarantee,
            reasons,
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give up everything that was learnt, as arrays that need no pickle."""
        classes = {} if self._by_class is None else {"classes": self._by_class.classes}
        return (
            self._detector.to_arrays()
            | classes
            | {
                "calibration": self.calibration.scores,
                "columns": np.array(self._columns, np.str_),
                "rows": self._seen.rows,
                "extremes": self._seen.extremes.values,
                "reads": np.array(self.reads),
            }
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], settings: OutlierSettings) -> Self:
        """Rebuild the guard that gave ``arrays``; it judges alike to the last bit.

        ``alpha``, ``delta`` and what a strange row leads to come from ``settings``
        and may differ from those it was fitted with: all calibration scores are there.

        Raises:
            CalibrationTooSmallError: the scores cannot support these settings.
        """
        detector = Detector.from_arrays(arrays)
        calibration = _calibrate(arrays["calibration"], settings)
        by_class = None
        if settings.per_class:
            by_class = _calibrate_classes(calibration, arrays["classes"], detector, settings)
        return cls(
            settings,
            detector,
            calibration=calibration,
            by_class=by_class,
            columns=tuple(str(name) for name in arrays["columns"]),
            seen=Seen(arrays["rows"], Extremes(arrays["extremes"], len(arrays["rows"]))),
            reads="outputs" if str(arrays["reads"]) == "outputs" else "features",
        )


def _choose(
    sample: Rows,
    kept: NDArray[np.intp],
    fit: Callable[..., Detector],
    *,
    reads: Reads,
    answer: Answer | None,
    spoil: Spoil | None,
) -> DetectorName:
    """Choose a detector by pseudo-anomalies made of the sample, whose rows are ``kept``."""
    candidates = OUTPUT_CANDIDATES if answer is not None else FEATURE_CANDIDATES
    if reads == "outputs" and answer is None:
        candidates = EMBEDDING_CANDIDATES
    if len(sample) < LEAST_TO_CHOOSE:
        return candidates[0]
    seen = None if spoil is None else (lambda picked: spoil(kept[picked]))
    return choose(
        sample,
        candidates,
        lambda rows, preset: fit(rows, preset=preset),
        seen or spoil_rows(sample),
    )


def _calibrate(scores: NDArray[np.float64], settings: OutlierSettings) -> Calibration:
    return Calibration.of(
        scores,
        alpha=settings.alpha,
        delta=settings.delta,
        guard=OutlierGuard.name,
        mode=settings.calibration,
        two_sided=settings.two_sided,
    )


def _calibrate_classes(
    calibration: Calibration,
    classes: NDArray[np.intp],
    detector: Detector,
    settings: OutlierSettings,
) -> ByClass:
    """Calibrate by the class predicted for each row, in the order of the scores."""
    return ByClass.of(calibration, classes, count=detector.class_count, aim=settings.aim)


def _filled(sample: Rows) -> Rows:
    """Put the median of its column where a value is missing; 0 where none ever stood."""
    absent = np.isnan(sample)
    if not absent.any():
        return sample
    empty = absent.all(axis=0)
    filled = np.where(empty, 0, sample)
    return np.where(absent, np.nanmedian(filled, axis=0), filled)
