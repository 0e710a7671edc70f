"""The fallback ladder: a weaker answer in time, in manifest order, the first that fits.

Two kinds of rungs.  `version` and `model` compute: they are asked only when their cost profile and
their queue fit the time left, and whatever goes wrong with one, the next has its turn.  `cache`
and `constant` cost nothing; while one of them is still below, a rung that computes must be done
`LAST_NS` before the deadline, so that the one below goes out in time even if it is not.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.serving.batcher import Batcher
from gateway.serving.item import Item, Judged
from gateway.serving.versions import LoadedVersion, View
from models.manifest import CacheRung, ConstantRung, ModelRung, Rung, VersionRung
from models.prediction import predicted
from models.runtime.constant import constant_rows

log = logging.getLogger(__name__)

LAST_NS = 2_000_000  # how late a timer of a busy event loop comes, and an answer's encoding
SHARE = 4  # at most one part in so many of a budget is kept from the model for its ladder

# Inputs that may have ended a process are shown to no other model of it; a thread that does not
# come back would not bring another version's answer either.
OFF_LIMITS: Mapping[str, frozenset[str]] = {
    "crash_suspect": frozenset({"version", "model"}),
    "hung": frozenset({"version"}),
}


@dataclass(frozen=True, slots=True)
class Fallback:
    """An answer from a rung; provenance for the client and the record."""

    served_by: str
    version: LoadedVersion
    outputs: dict[str, NDArray[Any]]
    predicted: NDArray[Any]
    cache_age_ns: int = 0


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who computes the answer of a rung, and where it queues."""

    version: LoadedVersion
    batcher: Batcher

    def needs_ns(self, rows: int) -> float:
        """Predict how long the answer takes from now."""
        wait_ns = self.batcher.predicted_wait_ns(self.version)
        return wait_ns + self.version.cost.model.estimate_ns(rows)

    def fits(self, rows: int, *, left_ns: int, now_ns: int) -> bool:
        """Whether there is time for it, or it is so long since it was asked that it must be."""
        if self.needs_ns(rows) <= left_ns:
            return True
        model = self.version.cost.model
        wait_ns = self.batcher.predicted_wait_ns(self.version)
        return model.is_doubtful(now_ns) and wait_ns + model.quickest_ns(rows) <= left_ns


class Ladder:
    """Finds the first rung that still answers in the time left."""

    def __init__(
        self,
        batcher: Batcher,
        rungs: Batcher,
        *,
        now_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._batcher = batcher  # of the versions
        # Of the model rungs: a queue and a thread of their own, because what makes a rung
        # necessary is often that the other thread is slow, full or stuck.
        self._rungs = rungs
        self._now_ns = now_ns

    async def descend(
        self,
        view: View,
        version: LoadedVersion,
        item: Item,
        deadline_ns: int,
        *,
        reason: str = "",
    ) -> tuple[Fallback | None, list[str]]:
        """Try the rungs of ``version`` in order.

        Args:
            view: What else is warm.
            version: That has no answer of its own; the rungs of a rung are never followed.
            item: The request.
            deadline_ns: Monotonic; after it only rungs that cost nothing answer.
            reason: Why the version has no answer; see `OFF_LIMITS`.  A suspect stays one,
                whatever the reason.

        Returns:
            The answer, or None when no rung has one, and the names of the rungs tried.
        """
        asked = replace(item, is_fallback=True)
        keep_ns = min(LAST_NS, max(0, deadline_ns - self._now_ns()) // SHARE)
        tried: list[str] = []
        off_limits = OFF_LIMITS.get("crash_suspect" if item.is_alone else reason, frozenset())
        for rung, is_free_below in _rungs(version):
            if rung.use in off_limits:
                continue
            tried.append(f"fallback:{rung.use}")
            limit_ns = deadline_ns - keep_ns if is_free_below else deadline_ns
            answer = await self._try(rung, view, version, asked, limit_ns)
            if answer is not None:
                return answer, tried
        return None, tried

    def reserve_ns(self, view: View, version: LoadedVersion, *, rows: int, budget_ns: int) -> int:
        """Say how long before its deadline a request must be given up and brought to `descend`.

        That is what the first rung that computes needs, if a quarter of the budget is enough for
        it; else what a rung needs that costs nothing.  0 without a ladder: nobody else answers.
        """
        most_ns = budget_ns // SHARE
        free_ns = 0
        for rung in version.manifest.fallback:
            if isinstance(rung, CacheRung | ConstantRung):
                free_ns = min(LAST_NS, most_ns)
                if isinstance(rung, ConstantRung):
                    break  # nothing below it is ever asked
            elif (asked := self._find(rung, view, version)) is not None:
                needs_ns = int(asked.needs_ns(rows)) + 2 * LAST_NS  # two timers may come late
                if needs_ns <= most_ns:
                    return needs_ns
        return free_ns

    def remember(self, version: LoadedVersion, item: Item, judged: Judged) -> None:
        """Keep the version's own good answer, if its ladder has a cache.

        Good: every guard looked, none had anything to say, not even in dry run, and nothing
        was explored.
        """
        if version.cache is not None and item.fingerprint and _is_good(judged):
            assert judged.outputs is not None
            version.cache.put(item.fingerprint, judged.outputs)

    async def _try(
        self, rung: Rung, view: View, version: LoadedVersion, item: Item, limit_ns: int
    ) -> Fallback | None:
        if isinstance(rung, ConstantRung):
            return constant(version, rung, item.rows)
        if isinstance(rung, CacheRung):
            return _cached(version, item)
        asked = self._find(rung, view, version)
        now_ns = self._now_ns()
        if asked is None or not asked.fits(item.rows, left_ns=limit_ns - now_ns, now_ns=now_ns):
            return None
        try:
            judged = await asked.batcher.submit(asked.version, view.table, item, limit_ns)
        except Exception as error:  # noqa: BLE001  whatever it is, the next rung is there for it
            log.error("rung %s of %s failed (%s)", rung.use, view.table.model, type(error).__name__)
            return None
        if judged is None or judged.outputs is None or judged.predicted is None:
            return None
        answered = asked.version if isinstance(rung, VersionRung) else version
        return Fallback(f"fallback:{rung.use}", answered, judged.outputs, judged.predicted)

    def _find(
        self, rung: VersionRung | ModelRung, view: View, version: LoadedVersion
    ) -> _Asked | None:
        """Find who computes; None if it is not warm, or the version itself."""
        if isinstance(rung, ModelRung):
            model = version.rungs.get(rung.file)
            return None if model is None else _Asked(model, self._rungs)
        other = view.loaded.get(rung.version)
        return None if other is None or other is version else _Asked(other, self._batcher)


def _rungs(version: LoadedVersion) -> list[tuple[Rung, bool]]:
    """Each rung, and whether one that costs nothing comes after it."""
    rungs = version.manifest.fallback
    free = [i for i, rung in enumerate(rungs) if isinstance(rung, CacheRung | ConstantRung)]
    return [(rung, bool(free) and i < free[-1]) for i, rung in enumerate(rungs)]


def _is_good(judged: Judged) -> bool:
    return (
        judged.outputs is not None
        and not judged.skipped_guards
        and all(verdict.is_clear for verdict in judged.verdicts)
        and (judged.decided is None or not judged.decided.choices.explored.any())
    )


def _cached(version: LoadedVersion, item: Item) -> Fallback | None:
    """Repeat the last answer to the same inputs."""
    found = version.cache.get(item.fingerprint) if version.cache is not None else None
    if found is None:
        return None
    outputs, age_ns = found
    classes = predicted(outputs, version.manifest.signature)
    return Fallback("fallback:cache", version, outputs, classes, age_ns)


def constant(version: LoadedVersion, rung: ConstantRung, rows: int) -> Fallback:
    """Repeat the fixed row of ``rung`` for every row asked; costs nothing, so it always fits."""
    signature = version.manifest.signature
    outputs = {
        name: np.broadcast_to(row, (rows, *row.shape[1:]))
        for name, row in constant_rows(rung.outputs, signature).items()
    }
    return Fallback("fallback:constant", version, outputs, predicted(outputs, signature))
