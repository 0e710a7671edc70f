"""Alerts: an expectation of a live version was found violated, and no longer is.

People are told the way their monitoring already tells them: by the state of each expectation
among the metrics.  What began and ended, when and why, is kept.
"""

import logging
from collections.abc import Callable

from gateway.evaluate.report import Report
from gateway.registry.quality import QualityStore
from gateway.registry.registry import Registry
from guards.quality.expectation import State

log = logging.getLogger(__name__)


class AlertWatch:
    """Looks at the expectations of every model.  Used from one thread."""

    def __init__(
        self,
        registry: Registry,
        report: Callable[[str], Report],
        store: QualityStore,
        *,
        clock_s: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._report = report
        self._store = store
        self._clock_s = clock_s

    def tick(self) -> int:
        """Note how every expectation stands; return how many alerts began or ended."""
        changed = 0
        for model in self._registry.models():
            found = self._report(model)
            stand = {one.name: (one.state.value, one.reason) for one in found.expectations}
            began, ended = self._store.note(
                model,
                found.live or "",
                stand,
                violated=State.VIOLATED.value,
                at_s=self._clock_s(),
            )
            for name in began:
                log.warning("%s of %s is violated: %s", name, model, stand[name][1])
            for name in ended:
                log.warning("%s of %s is no longer violated", name, model)
            changed += len(began) + len(ended)
        return changed
