"""The outlier guard: one calibrated score per row.  START here in this folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from guards.columns import column_names
from guards.errors import ReferenceTooSmallError, ShapeMismatchError
from guards.outlier.blame import Extremes, Suspicion
from guards.outlier.conformal import Calibration
from guards.outlier.detector import Detector
from guards.outlier.explain import Explainer
from guards.outlier.neighbours import SPARE
from guards.outlier.similar import Similar
from guards.settings import Settings
from guards.verdict import Action, ActionName, Rows, Verdict, action_of

SUBSAMPLE_SEED = 20230101  # the same reference and settings give the same guard


class OutlierSettings(Settings):
    """Settings of `OutlierGuard`."""

    detector: Literal["auto"] = Field(default="auto", description="Which scores are mixed.")
    alpha: float = Field(
        0.01, gt=0, lt=1, description="Share of ordinary rows we accept to judge strange."
    )
    delta: float = Field(
        0.05, gt=0, lt=1, description="Probability that the calibration rows mislead us about it."
    )
    action: ActionName = Field(default="flag", description="What a strange row leads to.")
    dry_run: bool = Field(default=False, description="Judge and record, but allow every row.")
    on_error: Literal["open", "closed"] = Field(
        default="open", description="What happens to a row if the guard itself fails."
    )
    reference_rows: int = Field(
        4096, ge=64, le=65536, description="Reference rows kept; cost per row grows with them."
    )
    neighbours: int = Field(
        default=5, ge=1, le=50, description="Nearest reference rows averaged over."
    )
    name_nearest: bool = Field(
        default=False,
        description="Name the reference row most like a strange one: it may be a person.",
    )


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
    row holding NaN or an infinity is strange by decree.
    """

    name = "outlier"

    def __init__(
        self,
        settings: OutlierSettings,
        detector: Detector,
        *,
        calibration: Calibration,
        columns: Sequence[str],
        seen: Seen,
    ) -> None:
        """Put finished parts together; `fit` and `from_arrays` make them."""
        self._detector = detector
        self.calibration = calibration
        self._columns = tuple(columns)
        self._seen = seen
        self._explainer = Explainer(
            detector.scales,
            Suspicion.of(detector.scales, detector.basis, seen.extremes, alpha=settings.alpha),
            Similar.of(detector.basis, detector.neighbours.points, count=settings.neighbours),
            self._columns,
            seen.rows if settings.name_nearest else None,
            self.p_values,
            calibration.threshold,
        )
        self._action = Action.ALLOW if settings.dry_run else action_of(settings.action)

    @classmethod
    def fit(
        cls,
        reference: Rows,
        held_out: Rows,
        settings: OutlierSettings,
        *,
        feature_names: Sequence[str] = (),
        tensors: Sequence[slice] = (),
    ) -> Self:
        """Learn what is ordinary from ``reference``, the threshold from ``held_out``.

        Rows that are not finite are left out of both: the promise is about
        complete rows.  Each of ``tensors`` are columns without a meaning of their
        own, such as the pixels of an image: they are measured on one scale.

        Raises:
            ShapeMismatchError: the two are not of one width.
            ReferenceTooSmallError: there are not enough rows to be neighbours.
            CalibrationTooSmallError: ``held_out`` cannot support ``alpha`` at ``delta``.
        """
        width = reference.shape[-1]
        for rows in (reference, held_out):
            if rows.ndim != 2 or rows.shape[1] != width:
                raise ShapeMismatchError(cls.name, width, rows.shape)
        # Subsampled before calibration: the threshold must belong to the guard that serves.
        kept = _subsample(np.flatnonzero(_is_complete(reference)), settings.reference_rows)
        sample = reference[kept]
        needed = settings.neighbours + SPARE + 1
        if len(sample) < needed:
            raise ReferenceTooSmallError(cls.name, needed, len(sample))
        detector = Detector.fit(sample, neighbours=settings.neighbours, tensors=tensors)
        return cls(
            settings,
            detector,
            calibration=_calibrate(detector.score(held_out[_is_complete(held_out)]), settings),
            columns=column_names(feature_names, width),
            seen=Seen(kept.astype(np.int64), Extremes.of(sample)),
        )

    @property
    def detector_name(self) -> str:
        """What the score is made of."""
        return "mixture"

    def p_values(self, rows: Rows) -> NDArray[np.float64]:
        """Rank each of ``n`` rows, shape (n, d), among the calibration rows."""
        if rows.ndim != 2 or rows.shape[1] != len(self._columns):
            raise ShapeMismatchError(self.name, len(self._columns), rows.shape)
        return self.calibration.p_values(self._detector.score(rows))

    def is_strange(self, rows: Rows) -> NDArray[np.bool_]:
        """Find the strange rows without saying why, whatever they lead to."""
        return np.asarray(self.p_values(rows) <= self.calibration.threshold)

    def check(self, rows: Rows) -> Verdict:
        """Judge each of ``n`` rows, shape (n, d)."""
        p_values = self.p_values(rows)
        strange = p_values <= self.calibration.threshold
        reasons = self._explainer.explain(rows, p_values, np.flatnonzero(strange))
        return Verdict(
            self.name,
            strange * np.uint8(self._action),
            p_values,
            self.calibration.threshold,
            self.calibration.guarantee,
            reasons,
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give up everything that was learnt, as arrays that need no pickle."""
        return self._detector.to_arrays() | {
            "calibration": self.calibration.scores,
            "columns": np.array(self._columns, np.str_),
            "rows": self._seen.rows,
            "extremes": self._seen.extremes.values,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], settings: OutlierSettings) -> Self:
        """Rebuild the guard that gave ``arrays``; it judges alike to the last bit.

        ``alpha``, ``delta`` and what a strange row leads to come from ``settings``
        and may differ from those it was fitted with: all calibration scores are there.

        Raises:
            CalibrationTooSmallError: the scores cannot support these settings.
        """
        return cls(
            settings,
            Detector.from_arrays(arrays),
            calibration=_calibrate(arrays["calibration"], settings),
            columns=tuple(str(name) for name in arrays["columns"]),
            seen=Seen(arrays["rows"], Extremes(arrays["extremes"], len(arrays["rows"]))),
        )


def _calibrate(scores: NDArray[np.float64], settings: OutlierSettings) -> Calibration:
    return Calibration.of(
        scores, alpha=settings.alpha, delta=settings.delta, guard=OutlierGuard.name
    )


def _is_complete(rows: Rows) -> NDArray[np.bool_]:
    """Find the rows that hold neither NaN nor infinity."""
    return np.asarray(np.isfinite(rows).all(axis=1))


def _subsample(rows: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Keep ``count`` rows at random; before calibration, which must see the same guard."""
    if len(rows) <= count:
        return rows
    chosen = np.random.default_rng(SUBSAMPLE_SEED).choice(len(rows), count, replace=False)
    return rows[np.sort(chosen)]
