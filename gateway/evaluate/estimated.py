"""Quality while nobody has said what was true: estimates, what each assumes, and an alarm."""

import numpy as np

from gateway.evaluate.captured import Captured
from gateway.evaluate.expectations import Expectation, expectation
from guards.quality.expectation import Judgement, State
from guards.quality.unlabelled.regression import dle
from guards.quality.unlabelled.source import Unlabelled
from guards.quality.unlabelled.spread import LEAST_ROWS, estimate_accuracy
from guards.settings import Settings
from models.held_out import HeldOut
from models.manifest import Manifest

STANDARD_ERRORS = 3.0  # by which even the kindest estimate must miss the target before it alarms
NEVER_ENOUGH = "an estimate alone never says that it holds"
DLE_ASSUMES = "errors depend on the features and the answer as they did on the held-out rows"


class EstimateReport(Settings):
    """One estimate, and what it takes for granted."""

    method: str
    value: float | None  # None: refused, the traffic is too unlike the held-out rows
    assumption: str


class EstimatedReport(Settings):
    """What quality on traffic probably is; where the estimates differ, none is to be believed."""

    metric: str  # accuracy, or mae where answers are numbers
    rows: int  # of traffic, with labels or without
    held_out_rows: int
    held_out: float  # what the metric was on those
    low: float  # the least of the estimates
    high: float
    estimates: tuple[EstimateReport, ...]
    strange_share: float | None  # of rows unlike the reference: there estimates have no support

    @property
    def kindest_with_error(self) -> float:
        """The highest estimated share, and what the number of rows leaves open above it."""
        error = np.sqrt(self.high * (1 - self.high) * (1 / self.rows + 1 / self.held_out_rows))
        return self.high + STANDARD_ERRORS * float(error)


def estimate_quality(
    manifest: Manifest, held_out: HeldOut | None, captured: Captured
) -> EstimatedReport | None:
    """Estimate the quality of captured rows; None with nothing to start from, or too few rows."""
    if held_out is None or len(captured) < LEAST_ROWS:
        return None
    strange = None if manifest.guards.outlier is None else captured.strange
    if held_out.classes is None:
        return _estimate_error(held_out, captured, strange)
    if captured.probabilities is None:
        return None
    source, features = held_out.classes, captured.features
    if features is None or source.features is None:
        source, features = type(source)(source.probabilities, source.labels), None
    found = estimate_accuracy(source, Unlabelled(captured.probabilities, features, strange))
    if found is None:
        return None
    return EstimatedReport(
        metric="accuracy",
        rows=found.rows,
        held_out_rows=len(source.labels),
        held_out=found.held_out,
        low=found.low,
        high=found.high,
        estimates=tuple(
            EstimateReport(
                method=one.method,
                value=None if np.isnan(one.accuracy) else one.accuracy,
                assumption=one.assumption,
            )
            for one in found.estimates
        ),
        strange_share=found.strange_share,
    )


def _estimate_error(
    held_out: HeldOut, captured: Captured, strange: np.ndarray | None
) -> EstimatedReport | None:
    """Estimate the mean absolute error of a model that answers numbers."""
    known, errors, features = held_out.features, held_out.errors, captured.features
    if known is None or errors is None or features is None or len(errors) < LEAST_ROWS:
        return None
    design = np.column_stack([features, captured.predicted])
    design = design[np.isfinite(design).all(axis=1)]
    if len(design) < LEAST_ROWS or design.shape[1] != known.shape[1]:
        return None
    value = dle(known, errors, design)
    told = EstimateReport(method="dle", value=value, assumption=DLE_ASSUMES)
    return EstimatedReport(
        metric="mae",
        rows=len(design),
        held_out_rows=len(errors),
        held_out=float(errors.mean()),
        low=value,
        high=value,
        estimates=(told,),
        strange_share=None if strange is None else float(strange.mean()),
    )


def judge_estimated(found: EstimatedReport | None, target: float | None) -> Expectation | None:
    """Judge a promised accuracy by estimates: violated or unknown, and never more than that.

    Violated once even the kindest estimate lies below the target by more than the number of rows
    explains.  There is no guarantee: it is as good as the estimates' assumptions.
    """
    if found is None or target is None or found.metric != "accuracy":
        return None
    is_alarm = found.kindest_with_error < target
    relation = "even the kindest is below" if is_alarm else "which does not exclude"
    reason = f"{estimated_as(found)}, {relation} {target:g}; {NEVER_ENOUGH}"
    state = State.VIOLATED if is_alarm else State.UNKNOWN
    middle = (found.low + found.high) / 2
    judgement = Judgement(state, reason, middle, found.low, found.high)
    return expectation("estimated_accuracy", "ml", target, judgement)


def mention_estimate(judged: Expectation, found: EstimatedReport | None) -> Expectation:
    """Add to an unknown accuracy what it is estimated as, which leaves it unknown."""
    if judged.state is not State.UNKNOWN or found is None or found.metric != judged.name:
        return judged
    reason = f"{judged.reason}; {estimated_as(found)}: {NEVER_ENOUGH}"
    return judged.model_copy(update={"reason": reason})


def estimated_as(found: EstimatedReport) -> str:
    """Say what the estimates are, and from what."""
    methods = ", ".join(one.method for one in found.estimates if one.value is not None)
    spread = f"{found.low:.3f}-{found.high:.3f}"
    return f"estimated as {spread} by {methods} from {found.rows:,} rows"
