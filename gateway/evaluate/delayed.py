"""The accuracy while labels are late: those that are there say too much, or too little."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gateway.evaluate.captured import Captured, Key
from gateway.evaluate.expected import expected_wrong
from gateway.evaluate.labels import Label
from guards.quality.delay import LEAST_ARRIVALS, adjust_for_delay, fit_arrivals
from guards.settings import Settings
from models.held_out import HeldOut

NS_PER_S = 10**9
MATURE_SHARE = 0.95  # of the labels that came, came within this age
COMPLETE_SHARE = 0.9  # of the mature rows must have a label, or what is missing is not late
LEAST_MATURE = 50  # rows, to know that
ASSUMES = "how long a label takes depends on what it says, and is as it was on the mature rows"

Floats = NDArray[np.float64]


class DelayedReport(Settings):
    """The accuracy of all captured rows, those whose labels are still to come filled in."""

    rows: int
    labelled_share: float
    labels_to_date: float | None  # accuracy of those with a label; biased
    adjusted: float | None  # None: refused
    median_delay_right_s: float | None  # until a label came that says the answer was right
    median_delay_wrong_s: float | None
    refused: str = ""  # why there is none
    assumption: str = ASSUMES


def adjust_captured(
    captured: Captured,
    labels: Mapping[Key, Label],
    held_out: HeldOut | None,
    *,
    now_ns: int,
) -> DelayedReport | None:
    """Adjust the accuracy of captured rows for late labels; None before there is any label.

    Args:
        captured: Rows, with a label or without.
        labels: Of some of them.
        held_out: Says how often an answer of such confidence is wrong.
        now_ns: Unix.
    """
    if captured.probabilities is None or not labels:
        return None
    found = [labels.get(key) for key in captured.keys]
    arrived = np.array([label is not None for label in found])
    if not arrived.any():
        return None
    value = np.array([np.nan if label is None else label.value for label in found])
    came_ns = np.array([0 if label is None else label.received_ns for label in found], np.int64)
    wrong = arrived & (captured.predicted != value)
    ages = np.maximum(now_ns - captured.arrived_ns, 0) / NS_PER_S
    # A label may be told before its request is judged, and no row is younger than its label.
    delays = np.clip((came_ns - captured.arrived_ns) / NS_PER_S, 0.0, ages)
    wait = {k: delays[arrived & (wrong == k)] for k in (True, False)}
    told = DelayedReport(
        rows=len(captured),
        labelled_share=float(arrived.mean()),
        labels_to_date=float(1 - wrong[arrived].mean()),
        adjusted=None,
        median_delay_right_s=_median(wait[False]),
        median_delay_wrong_s=_median(wait[True]),
    )
    refused = _refusal(wait, arrived, ages, delays)
    if refused:
        return told.model_copy(update={"refused": refused})
    late = {k: fit_arrivals(wait[k], ages[arrived & (wrong == k)]) for k in wait}
    adjusted = adjust_for_delay(
        expected_wrong(captured.probabilities, held_out),
        wrong,
        arrived,
        ages,
        late_wrong=late[True],
        late_right=late[False],
    )
    return told.model_copy(update={"adjusted": 1 - adjusted.adjusted})


def _refusal(
    wait: Mapping[bool, Floats], arrived: NDArray[np.bool_], ages: Floats, delays: Floats
) -> str:
    """Say why nothing can be filled in; "" if it can."""
    fewest = min(map(len, wait.values()))
    if fewest < LEAST_ARRIVALS:
        return f"{fewest} labels of the rarer kind, {LEAST_ARRIVALS} are needed"
    # The slower kind's own age: a quick kind must not make all rows look mature.
    mature_s = max(float(np.quantile(one, MATURE_SHARE)) for one in wait.values())
    mature = ages > mature_s
    if mature.sum() < LEAST_MATURE:
        return f"{mature.sum()} rows are older than labels usually take, {LEAST_MATURE} are needed"
    share = float(arrived[mature].mean())
    if share < COMPLETE_SHARE:
        return (
            f"{share:.3f} of the rows older than labels usually take have one, {COMPLETE_SHARE:g} "
            "are needed: labels are missing, not late"
        )
    return ""


def _median(delays: Floats) -> float | None:
    return float(np.median(delays)) if len(delays) else None
