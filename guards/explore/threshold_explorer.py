"""Approves or denies, where the label is only seen if approved."""

from collections.abc import Sequence

import numpy as np

from guards.explore.choices import Choices, certain
from guards.explore.distribution import Arms
from guards.explore.drawing import (
    Charge,
    ask_charge,
    close,
    drawn_choices,
    in_mode,
    off_gates,
    open_rows,
)
from guards.explore.gate import Gates, are_finite
from guards.explore.policy import Best, Scores
from guards.explore.rng import Rngs
from guards.explore.settings import ThresholdExplore
from guards.explore.threshold import APPROVE, approval, greedy_decisions
from guards.verdict import Rows


class ThresholdExplorer:
    """Approves some of those whom the threshold denies.  Actions: 0 deny, 1 approve."""

    def __init__(self, settings: ThresholdExplore, salt: bytes, *, domain: str = "") -> None:
        """Prepare the generators."""
        self._settings = settings
        self._rngs = Rngs(salt, domain=domain)

    def decide(
        self,
        scores: Rows,
        keys: Sequence[str],
        *,
        closed: Gates | None = None,
        cost: Scores | None = None,
        exposure: Scores | None = None,
        charge: Charge | None = None,
    ) -> Choices:
        """Decide every row.

        Args:
            scores: Shape (n,).
            keys: One per row.
            closed: Why a row may not explore, fixed before this call.
            cost: Shape (n,), expected cost of a wrong approval, if the settings name one.
            exposure: Shape (n,), the amount at stake, if the settings name one.
            charge: Last gate before the draw; regret is the expected cost, or the probability of an
                approval that the threshold would deny.
        """
        settings = self._settings
        values = scores.astype(np.float64, copy=False)
        reasons = list(
            off_gates(settings.mode, (None,) * len(values) if closed is None else closed)
        )
        everybody = np.arange(len(values))
        close(reasons, everybody, ~are_finite(values[:, None]), "not_finite")
        if cost is not None:
            close(reasons, everybody, ~(are_finite(cost[:, None]) & (cost > 0)), "cost")
        if exposure is not None and settings.max_exposure is not None:
            close(reasons, everybody, ~(exposure <= settings.max_exposure), "exposure")
        best = greedy_decisions(values, settings)
        rows = open_rows(reasons)
        if not len(rows):
            return certain(best[:, None], candidates=2, reasons=reasons)
        paid = None if cost is None else cost[rows]
        arms, regret = self._arms(values[rows], best[rows], paid)
        ask_charge(reasons, rows, regret, charge)
        uniforms = self._rngs.of("threshold").uniforms(
            [keys[row] for row in rows.tolist()], np.arange(2, dtype=np.uint64)
        )
        drawn, names = arms.draw(uniforms)
        choices = drawn_choices(best, rows, reasons, arms, drawn=drawn, names=names, regret=regret)
        return in_mode(choices, settings.mode, None)

    def _arms(self, scores: Scores, best: Best, paid: Scores | None) -> tuple[Arms, Scores]:
        """Spread probability over deny and approve, and tell the expected regret, (n,)."""
        settings = self._settings
        p = approval(scores, settings, paid)
        regret = np.where(best == APPROVE, 0.0, p if paid is None else p * paid)
        limit = settings.max_expected_regret
        if limit is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                p = np.where(regret > limit, p * limit / regret, p)
            regret = np.minimum(regret, limit)
        whole = np.ones((len(p), 1))
        return Arms((settings.shape.kind,), whole, (np.column_stack([1 - p, p]),)), regret
