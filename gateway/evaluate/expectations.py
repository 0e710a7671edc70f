"""Whether the live version does what its manifest promises: holds, violated, or unknown.

Operational expectations are about what clients saw since the version went live, whoever
answered; ML performance is about the rows that it answered itself, ever.
"""

from typing import Literal

from gateway.evaluate.cells import Cells, is_answer, is_fallback, is_own
from gateway.evaluate.judged import Cell, bin_start_ns
from gateway.evaluate.tallies import Hits
from guards.quality.expectation import Judgement, State, judge_at_least, judge_at_most
from guards.settings import Settings
from models.manifest import Manifest
from models.prediction import answers_classes

LATE_SHARE = 0.01  # `latency_ms` is a promise about the 99th percentile
NS_PER_MS = 1e6


class Expectation(Settings):
    """One promise and what is known about it."""

    name: str
    kind: Literal["operational", "ml"]
    target: float
    state: State
    reason: str
    estimate: float | None
    low: float | None  # None where nothing bounds it yet
    high: float | None


def judge_expectations(
    manifest: Manifest, cells: Cells, right: Hits, *, since_revision: int, alpha: float
) -> tuple[Expectation, ...]:
    """Judge what a version promises.

    Args:
        manifest: Of the live version.
        cells: All requests of the model.
        right: Rows of the version whose label is known, and those of them that were right.
        since_revision: Of the routing table, with which the version went live.
        alpha: Accepted chance of ever judging one expectation wrongly.
    """
    live = manifest.version

    def is_for_live(cell: Cell) -> bool:
        # A rung of the ladder answers under its own version, but for the live one.
        return cell.revision >= since_revision and (cell.version == live or is_fallback(cell))

    asked = cells.where(is_for_live)
    accuracy = manifest.expectations.accuracy
    judged = [_latency(manifest, asked, alpha), _availability(manifest, asked, alpha)]
    if manifest.expectations.fallback_share is not None:
        judged.append(_fallbacks(manifest.expectations.fallback_share, asked, alpha))
    if accuracy is not None:
        judgement = (
            judge_at_least(accuracy, right.hits, right.n, alpha=alpha, total=own_rows(cells, live))
            if answers_classes(manifest.signature)
            else unknown("the model answers numbers: accuracy is about classes")
        )
        judged.append(expectation("accuracy", "ml", accuracy, judgement))
    return tuple(judged)


def own_rows(cells: Cells, version: str) -> int:
    """Count the rows that a version answered itself, and that may so have a label."""
    return cells.where(lambda cell: cell.version == version and is_own(cell)).total().kept_rows


def _latency(manifest: Manifest, asked: Cells, alpha: float) -> Expectation:
    """Judge the share of answers that were late; right to the 1 % of a duration bin."""
    limit_ms = manifest.expectations.latency_ms
    answers = asked.where(is_answer)
    late = answers.where(lambda cell: bin_start_ns(cell.duration_bin) >= limit_ms * NS_PER_MS)
    n_late, n = late.total().requests, answers.total().requests
    judgement = judge_at_most(LATE_SHARE, n_late, n, alpha=alpha, outcome="answers")
    return expectation("latency_ms", "operational", limit_ms, judgement)


def _availability(manifest: Manifest, asked: Cells, alpha: float) -> Expectation:
    """Judge the share of requests that did not fail for a reason of ours."""
    target = manifest.expectations.availability
    served = asked.where(lambda cell: cell.status < 500).total().requests
    n = asked.total().requests
    judgement = judge_at_least(target, served, n, alpha=alpha, outcome="requests")
    return expectation("availability", "operational", target, judgement)


def _fallbacks(limit: float, asked: Cells, alpha: float) -> Expectation:
    answers = asked.where(is_answer)
    n_fallback, n = answers.where(is_fallback).total().requests, answers.total().requests
    judgement = judge_at_most(limit, n_fallback, n, alpha=alpha, outcome="answers")
    return expectation("fallback_share", "operational", limit, judgement)


def unknown(reason: str) -> Judgement:
    """Say why it cannot be told."""
    return Judgement(State.UNKNOWN, reason, None, 0.0, 1.0)


def expectation(
    name: str, kind: Literal["operational", "ml"], target: float, judgement: Judgement
) -> Expectation:
    """Name what was judged."""
    return Expectation(
        name=name,
        kind=kind,
        target=target,
        state=judgement.state,
        reason=judgement.reason,
        estimate=judgement.estimate,
        low=judgement.low,
        high=judgement.high,
    )
