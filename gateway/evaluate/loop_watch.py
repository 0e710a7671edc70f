"""Watches the feedback loop of every model that explores, from the evidence and the feedback.

Decisions are counted once their window for feedback is over, in the order in which they were
committed, so that nothing that is counted can change.  A loop window is reported on when all
its decisions are counted.  All that is known is stored with the report: the next evaluator goes
on from there.
"""

import logging
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Engine

from gateway.evaluate.choice_log import NS_PER_S, read_log, window_of
from gateway.evaluate.loop_counts import LoopCounts, count_choices, shown_otherwise
from gateway.evaluate.loop_report import report_window
from gateway.evaluate.loop_state import LoopState
from gateway.evaluate.ranked import count_rankings
from gateway.record.evidence import Evidence
from gateway.registry.loop import LoopStore
from gateway.registry.registry import Registry
from models.feedback_spec import LoopSpec
from models.manifest import Manifest

SLICE_NS = 60 * NS_PER_S  # counted at once: at 100 requests/s six thousand decisions
MAX_REQUESTS = 50_000  # of a slice; the newest, where there are more
SLICES = 20  # of one model in one tick: others wait for the same thread
LAG_NS = 5 * NS_PER_S  # after which what was answered is committed

log = logging.getLogger(__name__)


class LoopWatch:
    """All models.  Used from one thread."""

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        evidence: Evidence,
        store: LoopStore,
        *,
        clock_ns: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._evidence = evidence
        self._store = store
        self._clock_ns = clock_ns

    def tick(self) -> int:
        """Count what has become countable; return how many windows were reported on."""
        closed = 0
        for table in self._registry.tables():
            rows = self._registry.versions(table.model)
            manifest = next(row.manifest for row in rows if row.version == table.live)
            if manifest.explore.kind != "none":
                closed += self._watch(manifest)
        return closed

    def _watch(self, manifest: Manifest) -> int:
        state = self._begin(manifest)
        closed = 0
        for _ in range(SLICES):
            if state is None:
                break
            before, state = state, self._advance(manifest, state)
            closed += state is not None and state.catalogue is not before.catalogue
        return closed

    def _begin(self, manifest: Manifest) -> LoopState | None:
        stored = self._store.state(manifest.name)
        if stored is not None:
            return LoopState.from_bytes(stored)
        first_ns = self._evidence.first_choice_ns(manifest.name, since_ns=0)
        if first_ns is None:
            return None
        length_ns = _length_ns(manifest.loop)
        return LoopState.begin(first_ns // length_ns * length_ns)

    def _advance(self, manifest: Manifest, state: LoopState) -> LoopState | None:
        """Count the next slice, and report on the window if it ends there; None: not yet."""
        window, now_ns = window_of(manifest.feedback), self._clock_ns()
        end_ns = state.start_ns + _length_ns(manifest.loop)
        final_ns = now_ns - max(window.length_ns + window.grace_ns, LAG_NS)
        until_ns = min(state.through_ns + SLICE_NS, end_ns)
        if until_ns > final_ns:
            return None
        found = self._evidence.read_choices(
            manifest.name, since_ns=state.through_ns, until_ns=until_ns, limit=MAX_REQUESTS
        )
        if not found:  # go on where there is something again
            next_ns = self._evidence.first_choice_ns(manifest.name, since_ns=until_ns)
            if next_ns is None and not state.window.decisions:
                return None
            until_ns = max(until_ns, min(end_ns, final_ns if next_ns is None else next_ns))
        requests = [request for _, request in found]
        read = read_log(self._engine, manifest.name, requests, window=window, now_ns=now_ns)
        after = replace(
            state,
            through_ns=until_ns,
            window=state.window.merge(count_choices(read.choices)),
            override=state.override.observe(*shown_otherwise(read.choices)),
            ranked=state.ranked.merge(count_rankings(read.choices, manifest.version)),
        )
        if until_ns < end_ns:
            self._store.keep(manifest.name, after.to_bytes())
            return after
        return self._close(manifest, after, end_ns)

    def _close(self, manifest: Manifest, state: LoopState, end_ns: int) -> LoopState:
        """End the open window; one without a decision leaves no trace."""
        counts, spec = state.window, manifest.loop
        if not counts.decisions:
            return self._skip(manifest, state, end_ns)
        after = replace(
            state,
            start_ns=end_ns,
            window=LoopCounts(),
            catalogue=state.catalogue.observe(counts.exposure, patience=spec.patience),
            confirmed=state.confirmed + counts.confirmed,
            overridden=state.overridden + counts.overridden,
        )
        report = report_window(
            counts,
            state.catalogue,
            after.catalogue,
            after.override,
            spec,
            start_ns=state.start_ns,
            end_ns=end_ns,
            ever=(after.confirmed, after.overridden),
            ranked=after.ranked,
        )
        if report.reasons:
            log.warning("feedback loop of %s: %s", manifest.name, "; ".join(report.reasons))
        signal = report.signal_of(manifest.name)
        closed = (end_ns, report.model_dump_json(), signal)
        self._store.keep(manifest.name, after.to_bytes(), closed=closed)
        return after

    def _skip(self, manifest: Manifest, state: LoopState, end_ns: int) -> LoopState:
        """Begin the next window in which there is something."""
        length_ns = _length_ns(manifest.loop)
        next_ns = self._evidence.first_choice_ns(manifest.name, since_ns=end_ns)
        start_ns = end_ns if next_ns is None else max(end_ns, next_ns // length_ns * length_ns)
        after = replace(state, start_ns=start_ns, through_ns=start_ns)
        self._store.keep(manifest.name, after.to_bytes())
        return after


def _length_ns(spec: LoopSpec) -> int:
    return int(spec.window_s * NS_PER_S)
