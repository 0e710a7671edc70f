"""The monitor: folds merged counts, tick by tick, into evidence, an alarm and its channels.

Pure: the state after some ticks depends on the counts of those ticks and on nothing else, so
that whoever keeps the counts can rebuild it.  Where a tick ends must not depend on what is in
it; an empty tick is no tick.

What is promised, as long as values are independent of each other while nothing drifts: with
probability ``1 - delta`` over the draw of the reference, the mean number of ticks to a false
alarm is at least ``run_length_ticks``, and the evidence since the beginning ever reaches
1/alpha with probability at most ``alpha``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from guards.drift.bets import Bets
from guards.drift.cells import CELLS, Counts
from guards.drift.eprocess import Wealth, e_bh, mixture
from guards.drift.reference import Reference
from guards.settings import Settings

SPARE_NATS = 5.0  # wealth kept above the threshold: decides how soon an alarm ends
FALSE_DISCOVERIES = 0.05  # share of named channels that may be innocent


class DriftSettings(Settings):
    """What a monitor promises."""

    delta: float = Field(
        0.05, gt=0, lt=1, description="Probability that the reference misleads the bounds."
    )
    alpha: float = Field(
        0.05, gt=0, lt=1, description="Probability of ever finding drift where none is."
    )
    run_length_ticks: float = Field(
        1e6, ge=10, description="Mean number of ticks to a false alarm, at least."
    )
    slack: float = Field(
        0.0, ge=0, lt=0.5, description="Drift of probabilities that nobody wants to know about."
    )


@dataclass(frozen=True, slots=True)
class MonitorState:
    """Everything a monitor knows; made by `Monitor.begin` and `Monitor.advance` only."""

    wealth: Wealth
    total: Counts  # since the beginning
    log_peak: float = 0.0  # of the evidence since the beginning
    alarmed: int | None = None  # tick at which the present alarm was raised

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give up everything, as arrays that need no pickle."""
        return {
            "tick": np.array(self.wealth.tick),
            "log_process": self.wealth.log_process,
            "log_detector": self.wealth.log_detector,
            "log_started": self.wealth.log_started,
            "total": self.total,
            "log_peak": np.array(self.log_peak),
            "alarmed": np.array(-1 if self.alarmed is None else self.alarmed),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "MonitorState":
        """Rebuild the state that gave ``arrays``, to the last bit."""
        wealth = Wealth(
            int(arrays["tick"]),
            arrays["log_process"],
            arrays["log_detector"],
            arrays["log_started"],
        )
        alarmed = int(arrays["alarmed"])
        return cls(
            wealth, arrays["total"], float(arrays["log_peak"]), None if alarmed < 0 else alarmed
        )


@dataclass(frozen=True, slots=True)
class ChannelFinding:
    """How far one channel is from its reference."""

    name: str
    weight: float  # in the alarm
    log_detector: float
    log_process: float
    named: bool  # drifts, with at most 5 % of those named innocent
    how: str  # the bet that won most
    since_tick: int  # estimated begin of the drift


@dataclass(frozen=True, slots=True)
class Finding:
    """What a monitor has to say after some ticks.  Evidence is in nats."""

    ticks: int
    values: int  # of the channel that had most
    alarm: bool
    alarmed_tick: int | None
    since_tick: int | None  # estimated begin of the drift, while there is an alarm
    log_detector: float
    log_threshold: float
    log_process: float
    ever: bool  # the evidence since the beginning once reached 1/alpha
    channels: tuple[ChannelFinding, ...]  # strongest first


class Monitor:
    """Judges some channels together.  Immutable after it is built.

    The alarm looks at the mean of the channels' wealth, weighted by how much the model relies
    on each: valid however the channels depend on each other.  A channel of weight 0 is watched
    and may be named, but wakes nobody.
    """

    def __init__(
        self,
        reference: Reference,
        settings: DriftSettings,
        *,
        weights: Sequence[float] | None = None,
    ) -> None:
        channels = len(reference)
        shares = np.ones(channels) if weights is None else np.asarray(weights, float)
        if shares.shape != (channels,) or (shares < 0).any() or not shares.sum() > 0:
            raise ValueError(f"{channels} channels need as many weights, not all of them 0")
        self._names = reference.layout.names
        self._weights = shares / shares.sum()
        self._settings = settings
        self._bets = Bets.on(reference, delta=settings.delta, slack=settings.slack)
        self._log_threshold = float(np.log(settings.run_length_ticks))
        with np.errstate(divide="ignore"):
            self._log_weights = np.log(self._weights)
        # One channel alone must be able to raise the alarm.
        heard = np.where(self._weights > 0, self._log_weights, -np.log(channels))
        self._ceiling = self._log_threshold + SPARE_NATS - heard

    def begin(self) -> MonitorState:
        """Know nothing yet."""
        return MonitorState(
            Wealth.begin(self._bets.log_stakes.shape),
            np.zeros((len(self._names), CELLS), np.int64),
        )

    def advance(self, state: MonitorState, counts: Counts) -> MonitorState:
        """Take in the counts of one tick; a tick without values changes nothing."""
        if not counts.any():
            return state
        wealth = state.wealth.grow(self._bets.gains(counts))
        wealth = wealth.capped(self._bets.log_stakes, self._ceiling)
        log_detector = self._together(wealth.log_detector)
        alarmed = state.alarmed
        if alarmed is None and log_detector >= self._log_threshold:
            alarmed = wealth.tick
        elif alarmed is not None and log_detector < self._log_threshold / 2:
            alarmed = None
        peak = max(state.log_peak, self._together(wealth.log_process))
        return replace(
            state, wealth=wealth, total=state.total + counts, log_peak=peak, alarmed=alarmed
        )

    def finding(self, state: MonitorState) -> Finding:
        """Say what follows from a state."""
        channels = self._channels(state)
        leading = [c for c in channels if c.weight > 0]
        since = leading[0].since_tick if state.alarmed is not None else None
        return Finding(
            ticks=state.wealth.tick,
            values=int(state.total.sum(axis=1).max()),
            alarm=state.alarmed is not None,
            alarmed_tick=state.alarmed,
            since_tick=since,
            log_detector=self._together(state.wealth.log_detector),
            log_threshold=self._log_threshold,
            log_process=self._together(state.wealth.log_process),
            ever=state.log_peak >= -np.log(self._settings.alpha),
            channels=channels,
        )

    def _together(self, log_wealth: NDArray[np.float64]) -> float:
        return float(mixture(self._log_weights, mixture(self._bets.log_stakes, log_wealth)))

    def _channels(self, state: MonitorState) -> tuple[ChannelFinding, ...]:
        """Name the channels that drift.

        At tick t the detector's mean is at most t while nothing drifts, so wealth / t is an
        e-value, to which e-BH applies.
        """
        wealth, tick = state.wealth, max(state.wealth.tick, 1)
        detector = mixture(self._bets.log_stakes, wealth.log_detector)
        process = mixture(self._bets.log_stakes, wealth.log_process)
        named = e_bh(detector - np.log(tick), alpha=FALSE_DISCOVERIES)
        best = (self._bets.log_stakes + wealth.log_detector).argmax(axis=1)
        started = wealth.started() if wealth.tick else np.zeros_like(wealth.log_process)
        with np.errstate(invalid="ignore"):
            order = np.argsort(-(self._log_weights + detector), kind="stable")
        return tuple(
            ChannelFinding(
                self._names[c],
                float(self._weights[c]),
                float(detector[c]),
                float(process[c]),
                bool(named[c]),
                self._bets.labels[c][best[c]],
                round(started[c, best[c]]),
            )
            for c in order
        )
