"""Why a row may not explore; decided before the draw, never after it.

A veto after the draw would change what is served without changing the logged
probability, and every estimate made from the log would be wrong.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from guards.verdict import Rows

# Why the greedy answer is served for certain.  The list is closed: metrics count by it.
Closed = Literal[
    # the gateway's
    "off", "kill_switch", "kill_switch_unknown", "journal", "journal_queue", "guard", "fallback",
    "exempt", "exposure", "no_unit", "unit_cap", "budget", "too_large",
    # of the scores and candidates
    "not_finite", "all_equal", "too_few", "duplicate_ids", "floor", "invalid_distribution",
    "regret", "cost",
    # a fault of ours
    "error",
]  # fmt: skip
REASONS = frozenset(get_args(Closed))
SCORE_MAX = 1e300  # beyond it, sums and differences of scores leave float64

Gates = Sequence[str | None]  # one per decision; None is open


def are_finite(scores: NDArray[Any]) -> NDArray[np.bool_]:
    """Find where all of the last axis is a number that can be added up."""
    return np.asarray((np.abs(scores) <= SCORE_MAX).all(axis=-1))


def vetoes(
    scores: Rows, allowed: NDArray[np.bool_], *, floor: float, closed: Gates
) -> tuple[str | None, ...]:
    """Give each row the first reason not to explore it, None where there is none.

    Args:
        scores: Shape (n, k).
        allowed: Shape (n, k).
        floor: Least probability of every allowed action.
        closed: Why a row may not explore, known before.
    """
    counts = allowed.sum(axis=1)
    finite = are_finite(scores)
    top = np.where(allowed, scores, -np.inf).max(axis=1, initial=-np.inf)
    low = np.where(allowed, scores, np.inf).min(axis=1, initial=np.inf)
    # A model that cannot tell any action from another is broken or a fallback.
    checks: tuple[tuple[Closed, NDArray[np.bool_]], ...] = (
        ("too_few", np.asarray(counts < 2)),
        ("not_finite", np.asarray(~finite)),
        ("all_equal", np.asarray(~(top > low))),
        ("floor", np.asarray(floor * counts > 1 + 1e-12)),
    )
    if not any(where.any() for _, where in checks):
        return tuple(closed)
    found = [
        next((name for name, where in checks if where[row]), None) for row in range(len(closed))
    ]
    return tuple(why or own for why, own in zip(closed, found, strict=True))
