"""What exploration may still cost here: a share of the budget, and decisions per unit.

Asked before a draw and never told its result, so that propensities stay exact.  Each replica has
its share of what all of them may spend, so nobody is asked on the way of a request.
"""

import time
from collections.abc import Callable

from guards.explore.settings import Budget

BURST = 0.1  # of the budget may be saved up; what flows in during a window is the rest
UNITS_MAX = 100_000  # remembered per epoch; whoever comes after them is not explored


class Spending:
    """Counts what one version spends in one replica.  Used by one thread at a time."""

    def __init__(
        self,
        budget: Budget | None,
        unit_cap: int | None,
        *,
        replicas: int,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with nothing saved up: a replica that restarts often must not spend more."""
        self._budget = budget
        self._replicas = replicas
        self._unit_cap = None if unit_cap is None else unit_cap // replicas
        self._now_s = now_s
        self._saved = 0.0
        self._saved_at_s = now_s()
        self._epoch: int | None = None
        self._units: dict[str, int] = {}

    @property
    def is_free(self) -> bool:
        """Whether there is no limit at all."""
        return self._budget is None and self._unit_cap is None

    def charge(self, unit: str, epoch: int, regret: float) -> str | None:
        """Pay for one decision, or say why it may not be randomised."""
        if self._unit_cap is not None:
            why = self._check_unit(unit, epoch)
            if why is not None:
                return why
        if self._budget is not None and not self._pay(self._budget, regret):
            return "budget"
        if self._unit_cap is not None:
            self._units[unit] = self._units.get(unit, 0) + 1
        return None

    def _check_unit(self, unit: str, epoch: int) -> str | None:
        assert self._unit_cap is not None
        if self._epoch is None or epoch > self._epoch:
            self._epoch = epoch
            self._units.clear()
        is_new = unit not in self._units
        if self._units.get(unit, 0) >= self._unit_cap or (is_new and len(self._units) >= UNITS_MAX):
            return "unit_cap"
        return None

    def _pay(self, budget: Budget, regret: float) -> bool:
        """Take from what has been saved up.

        In any window, what was saved up before it and what flows in during it are one share.
        """
        share = budget.regret / self._replicas
        now_s = self._now_s()
        earned = (1 - BURST) * share * (now_s - self._saved_at_s) / budget.window_s
        self._saved = min(self._saved + earned, BURST * share)
        self._saved_at_s = now_s
        if not regret <= self._saved:
            return False
        self._saved -= regret
        return True
