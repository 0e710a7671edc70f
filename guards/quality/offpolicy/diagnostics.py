"""How far a log can carry an estimate: what is always shown beside it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guards.quality.offpolicy.asymptotic import standard_error
from guards.quality.offpolicy.estimate import Estimate, weighted_mean
from guards.quality.offpolicy.logged import Floats, LoggedData

LEAST_VARIANCE = 5.0  # of the servings of an action, for a normal z


@dataclass(frozen=True, slots=True)
class Handling:
    """What became of the decisions of a window after they were answered."""

    decisions: int  # made in mode "on"
    joined: int  # whose window closed with a reward or the default
    late: int  # whose reward came after the window
    overridden: int  # confirmed as served otherwise than drawn

    def share(self, count: int) -> float | None:
        """Relate a count to all decisions; None of no decision."""
        return count / self.decisions if self.decisions else None


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """None where the log does not hold what the check needs."""

    rows: int
    effective_rows: float  # (sum w)² / sum w²: rows of weight 1 that would say as much
    mean_weight: float  # 1 if propensities are right and the target is supported
    mean_weight_z: float  # how many standard errors it is away from 1
    largest_share: float  # of all weight, on one row
    unsupported: float | None  # probability the target puts on what is never served
    inverse_propensity: float | None  # mean of 1/p over the number of supported actions; 1
    martingale_z: float | None  # worst action: served against the sum of its propensities
    join_share: float | None
    late_share: float | None
    override_share: float | None


def diagnose(
    data: LoggedData,
    *,
    actions: NDArray[np.integer] | None = None,
    logging: Floats | None = None,
    target: Floats | None = None,
    handling: Handling | None = None,
) -> Diagnostics:
    """Check the log, and how the target's weights spread over it.

    Args:
        data: The rows that are evaluated.
        actions: Shape (n,), what was served; with ``logging`` for the checks of propensities.
        logging: Shape (n, k), probability of every action when it was drawn.
        target: Shape (n, k), probability of every action under the evaluated policy.
        handling: What became of the decisions.
    """
    weights = data.counts * data.weights
    squares = float(weights @ weights)
    mean, pull = weighted_mean(data.weights, data.counts)
    error = standard_error(Estimate("mean weight", mean, pull, data.units))
    supported = None if logging is None else logging > 0
    return Diagnostics(
        rows=len(data),
        effective_rows=float(weights.sum()) ** 2 / squares if squares else 0.0,
        mean_weight=mean,
        mean_weight_z=_z(mean - 1, error),
        largest_share=float(weights.max() / weights.sum()) if squares else 1.0,
        unsupported=_unsupported(data, supported, target),
        inverse_propensity=_inverse_propensity(data, supported),
        martingale_z=_martingale_z(data, actions, logging),
        join_share=None if handling is None else handling.share(handling.joined),
        late_share=None if handling is None else handling.share(handling.late),
        override_share=None if handling is None else handling.share(handling.overridden),
    )


def _z(gap: float, error: float) -> float:
    """Count standard errors; a gap without any spread is as many as one likes."""
    if abs(gap) <= 1e-9:  # rounding of propensities
        return 0.0
    return gap / error if error > 0 else float(np.copysign(np.inf, gap))


def _unsupported(
    data: LoggedData, supported: NDArray[np.bool_] | None, target: Floats | None
) -> float | None:
    if supported is None or target is None:
        return None
    return weighted_mean(np.where(supported, 0.0, target).sum(axis=1), data.counts)[0]


def _inverse_propensity(data: LoggedData, supported: NDArray[np.bool_] | None) -> float | None:
    """Average 1/p over the number of actions that could be served; its expectation is 1."""
    if supported is None:
        return None
    return weighted_mean(1 / data.propensities / supported.sum(axis=1), data.counts)[0]


def _martingale_z(
    data: LoggedData, actions: NDArray[np.integer] | None, logging: Floats | None
) -> float | None:
    """Find the action that was served most unlike its propensities say, in standard errors.

    Each sum over rows of (served - p) is a martingale, whatever the policy did with
    its past; a wrong propensity or a choice changed after the draw gives it a drift.
    """
    if actions is None or logging is None:
        return None
    served = np.zeros_like(logging)
    served[np.arange(len(actions)), actions] = 1
    # Of an action that is hardly ever served one serving is many standard errors: pool these.
    rare = (logging * (1 - logging)).sum(axis=0) < LEAST_VARIANCE
    p, served = _pooled(logging, rare), _pooled(served, rare)
    gap = data.counts @ (served - p)
    spread = data.counts**2 @ (p * (1 - p))
    z = [_z(float(g), float(np.sqrt(s))) for g, s in zip(gap, spread, strict=True)]
    return max(z, key=abs)


def _pooled(table: Floats, rare: NDArray[np.bool_]) -> Floats:
    """Put the rare actions' columns into one."""
    return np.column_stack([table[:, ~rare], np.minimum(table[:, rare].sum(axis=1), 1.0)])
