"""One request as it is judged, and the cell of the counts that it falls into.

Durations fall into bins whose ends grow by a ratio, so that a quantile over any number of
requests is read from a few hundred numbers.
"""

import math
from hashlib import blake2b
from typing import Any, NamedTuple, Self

import msgspec

from gateway.record.decision import JUDGED_ROWS_MAX, Decision

BIN_RATIO = 1.01  # between the ends of a bin: what is read from bins is right to 1 %

_LOG_RATIO = math.log(BIN_RATIO)


def duration_bin(duration_ns: int) -> int:
    """Number the bin of a duration; everything below 1 us falls into the first."""
    return math.floor(math.log(max(duration_ns, 1000) / 1000) / _LOG_RATIO)


def bin_start_ns(number: int) -> float:
    """Give the shortest duration that falls into a bin."""
    return 1000 * math.exp(number * _LOG_RATIO)


class Cell(NamedTuple):
    """Requests that are counted together."""

    model: str
    version: str
    revision: int
    served_by: str
    fallback_reason: str
    status: int
    duration_bin: int


class Judged(NamedTuple):
    """A row of `tables.requests`, without its place in the order."""

    model: str
    prediction_id: str
    version: str
    revision: int
    served_by: str
    fallback_reason: str
    status: int
    rows: int
    kept_rows: int
    flagged: int
    rejected: int
    explored: int
    judged: int
    strange: int
    abstained: int
    unguarded: int
    captured: bool
    arrived_ns: int
    finished_ns: int
    fingerprint: str

    @classmethod
    def of(cls, decision: Decision) -> Self:
        """Take out of a decision what is judged."""
        drawn = decision.exploration
        explored = 0
        if drawn is not None:
            explored = drawn.explored
            if explored and len(drawn.closed) < decision.rows:  # the rows are its candidates
                explored = decision.rows
        judged = (
            decision.model,
            decision.prediction_id,
            decision.version,
            decision.revision,
            decision.served_by,
            decision.fallback_reason,
            decision.status,
            decision.rows,
            len(decision.predicted),
            decision.flagged,
            decision.rejected,
            explored,
            sum(not math.isnan(p) for p in decision.p_values),
            _strange(decision.reasons),
            decision.abstained,
            int(bool(decision.failed_guards)),
            decision.payload is not None,
            decision.arrived_ns,
            decision.stages.finished_ns,
        )
        seen = repr((judged, decision.predicted)).encode()
        return cls(*judged, fingerprint=blake2b(seen, digest_size=8).hexdigest())

    @property
    def rank(self) -> tuple[int, str]:
        """Order the tries of one request: the last one is what the client saw."""
        return self.arrived_ns, self.fingerprint

    @property
    def cell(self) -> Cell:
        """Where it is counted."""
        return Cell(
            self.model,
            self.version,
            self.revision,
            self.served_by,
            self.fallback_reason,
            self.status,
            duration_bin(self.finished_ns),
        )

    @property
    def sums(self) -> tuple[int, ...]:
        """What it adds to its cell, in the order of `tables.SUMS`."""
        return (
            1,
            self.rows,
            self.kept_rows,
            self.flagged,
            self.rejected,
            self.explored,
            self.judged,
            self.strange,
            self.abstained,
            self.unguarded,
        )


def _strange(reasons: str) -> int:
    """Count the rows that the outlier guard judged strange, of those whose p-value is kept."""
    return sum(row < JUDGED_ROWS_MAX for row in strange_rows(reasons))


def strange_rows(reasons: str) -> list[int]:
    """List the rows that the outlier guard judged strange."""
    if not reasons:
        return []
    by_row: dict[str, list[dict[str, Any]]] = msgspec.json.decode(reasons)
    return [
        int(row)
        for row, told in by_row.items()
        if any(why["guard"] == "outlier" and why["kind"] != "guard_failed" for why in told)
    ]
