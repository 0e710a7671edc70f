"""Judges drift: merges what the replicas counted, tick by tick, and tells what the monitors say.

A tick ends when the clock says so, whatever it holds.  Everything that is known after it is
stored with it, so the next evaluator goes on from there as if nothing had happened.
"""

import io
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from gateway.evaluate.drift_report import ChannelDrift, MonitorReport
from gateway.record.traffic import TrafficTotal, unpack_counts
from gateway.registry.drift import DriftStore, Judged
from guards.drift.cells import Counts
from guards.drift.counts import Ledger
from guards.drift.describe import describe
from guards.drift.monitor import ChannelFinding, DriftSettings, Finding, Monitor, MonitorState
from guards.drift.polya import is_exact, polya_evidence
from guards.drift.reference import Reference
from models.bundle import Bundle, load_watched
from models.errors import ModelError
from models.traffic import MONITORED, PAGING

WINDOW_TICKS = 360  # described: an hour of ticks of 10 s
SHOWN = 10  # channels of a monitor
SMALL_REFERENCE = 1000  # below, bounds are loose and the urn is asked as well
KEEP_TICKS = 60_480  # a week of ticks of 10 s, for whoever wants to compute the states again
DAY_S = 86_400.0

log = logging.getLogger(__name__)


@dataclass
class _Watch:
    """One monitor at work.  Only `DriftWatch` changes it."""

    monitored: str
    reference: Reference
    monitor: Monitor
    state: MonitorState
    recent: deque[tuple[int, float, Counts]] = field(  # tick, when it ended, its counts
        default_factory=lambda: deque(maxlen=WINDOW_TICKS)
    )


class DriftWatch:
    """All monitors of all versions that have traffic.  Used from one thread."""

    def __init__(
        self,
        store: DriftStore,
        open_bundle: Callable[[str], Bundle],
        *,
        tick_s: float,
        clock_s: Callable[[], float],
    ) -> None:
        self._store = store
        self._open_bundle = open_bundle  # digest -> verified bundle
        self._tick_s = tick_s
        self._clock_s = clock_s
        self._watches: dict[tuple[str, str, str], list[_Watch]] = {}

    def tick(self) -> int:
        """End a tick; return how many monitors had something to judge."""
        at_s, changed = self._clock_s(), 0
        for key, totals in self._store.totals().items():
            if key not in self._watches:
                self._watches[key] = self._begin(*key)
            watches = self._watches[key]
            judged, after = [], []
            for watch in watches:
                counts = _merged(watch, totals) - watch.state.total
                if counts.any():
                    found, state = self._judge(watch, counts, at_s)
                    judged.append(found)
                    after.append((watch, state, counts))
            if not judged:
                continue
            self._store.record(*key[:2], judged, at_s=at_s, keep_ticks=KEEP_TICKS)
            for watch, state, counts in after:  # only what is stored is known
                watch.state = state
                watch.recent.append((state.wealth.tick, at_s, counts))
            changed += len(judged)
        return changed

    def _begin(self, model: str, version: str, digest: str) -> list[_Watch]:
        """Set up the monitors of a version, and go on from what is stored of them."""
        try:
            bundle = self._open_bundle(digest)
            watched = load_watched(bundle)
        except ModelError as error:
            log.warning("no drift monitors for version %s of %s: %s", version, model, error)
            return []
        if watched is None:
            return []
        spec = bundle.manifest.guards.drift
        settings = DriftSettings(
            delta=spec.delta,
            alpha=spec.alpha,
            slack=spec.slack,
            run_length_ticks=max(spec.false_alarm_days * DAY_S / self._tick_s, 10.0),
        )
        watches = []
        for name in MONITORED:
            if name not in watched.references:
                continue
            reference = watched.references[name]
            monitor = Monitor(reference, settings, weights=watched.weights[name].tolist())
            stored = self._store.state(model, version, name)
            state = monitor.begin() if stored is None else _resumed(monitor, stored)
            watch = _Watch(name, reference, monitor, state)
            for tick in self._store.ticks(model, version, name, last=WINDOW_TICKS):
                watch.recent.append((tick.tick, tick.at_s, unpack_counts(tick.counts)))
            watches.append(watch)
        return watches

    def _judge(self, watch: _Watch, counts: Counts, at_s: float) -> tuple[Judged, MonitorState]:
        state = watch.monitor.advance(watch.state, counts)
        finding = watch.monitor.finding(state)
        report = self._report(watch, finding, counts, state, at_s)
        judged = Judged(
            watch.monitored,
            state.wealth.tick,
            counts,
            finding.log_detector,
            finding.log_threshold,
            finding.alarm,
            dump_state(state),
            report.model_dump_json(),
        )
        return judged, state

    def _report(
        self, watch: _Watch, finding: Finding, counts: Counts, state: MonitorState, at_s: float
    ) -> MonitorReport:
        window = sum((seen for _, _, seen in watch.recent), start=counts)

        def when(tick: int | None) -> float | None:
            """Date a tick; one before the window began is dated by the length of ticks."""
            if tick is None:
                return None
            dated = {number: ended_s for number, ended_s, _ in watch.recent}
            return dated.get(tick, at_s - (finding.ticks - tick) * self._tick_s)

        places = {name: i for i, name in enumerate(watch.reference.layout.names)}
        return MonitorReport(
            monitor=watch.monitored,
            pages=watch.monitored == PAGING,
            state="alarm" if finding.alarm else "quiet",
            alarmed_s=when(finding.alarmed_tick),
            since_s=when(finding.since_tick),
            false_alarm_days=float(np.exp(finding.log_threshold)) * self._tick_s / DAY_S,
            ticks=finding.ticks,
            values=finding.values,
            log_evidence=finding.log_detector,
            log_threshold=finding.log_threshold,
            log_evidence_since_start=finding.log_process,
            ever=finding.ever,
            channels=tuple(
                _channel(
                    watch.reference,
                    channel,
                    places[channel.name],
                    window,
                    state.total,
                    when(channel.since_tick) if channel.named else None,
                )
                for channel in finding.channels[:SHOWN]
                if window[places[channel.name]].any()
            ),
        )


def _channel(
    reference: Reference,
    channel: ChannelFinding,
    place: int,
    window: Counts,
    total: Counts,
    since_s: float | None,
) -> ChannelDrift:
    described = describe(reference, window[place], channel=place)
    urn = None
    if reference.n[place] < SMALL_REFERENCE and is_exact(reference, place):
        urn = polya_evidence(reference, total[place], channel=place)
    return ChannelDrift(
        name=channel.name,
        weight=channel.weight,
        log_evidence=channel.log_detector,
        named=channel.named,
        how=channel.how,
        since_s=since_s,
        n=described.n,
        missing_share=described.missing_share,
        kolmogorov_smirnov=described.kolmogorov_smirnov,
        psi=described.psi,
        jensen_shannon=described.jensen_shannon,
        wasserstein_iqr=described.wasserstein_iqr,
        chi2_p=described.chi2_p,
        cramers_v=described.cramers_v,
        urn_log_evidence=urn,
    )


def _merged(watch: _Watch, totals: list[TrafficTotal]) -> Counts:
    """Add up what every source has counted; what does not fit the reference is left out."""
    ledger = Ledger(len(watch.reference))
    for total in totals:
        packed = total.record.counts.get(watch.monitored)
        if packed is None:
            continue
        try:
            ledger = ledger.report((total.writer, total.record.epoch), unpack_counts(packed))
        except ValueError as error:
            log.error("counts of %s cannot be read: %s", total.writer, error)
    return ledger.total()


def _resumed(monitor: Monitor, stored: bytes) -> MonitorState:
    """Go on from a state; one of other bets, from before an update, leaves its totals only."""
    state, new = load_state(stored), monitor.begin()
    if state.wealth.log_process.shape == new.wealth.log_process.shape:
        return state
    return replace(new, total=state.total, wealth=replace(new.wealth, tick=state.wealth.tick))


def dump_state(state: MonitorState) -> bytes:
    """Write a state; `load_state` gives it back to the last bit."""
    written = io.BytesIO()
    np.savez_compressed(written, allow_pickle=False, **state.to_arrays())
    return written.getvalue()


def load_state(stored: bytes) -> MonitorState:
    """Read what `dump_state` wrote."""
    with np.load(io.BytesIO(stored), allow_pickle=False) as arrays:
        return MonitorState.from_arrays(arrays)
