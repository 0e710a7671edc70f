"""What metrics show of feedback loops: what the evaluator wrote, read when Prometheus asks."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

MEASURES = (
    "coverage", "gini", "effective_items", "popularity_lift", "newcomer_share", "found_good_new",
    "calibration_gap", "effective_labels", "explored_label_share", "overridden_share",
)  # fmt: skip
_log = logging.getLogger(__name__)


class LoopSignal(NamedTuple):
    """Of the last window of one model that is over."""

    model: str
    measures: dict[str, float]  # those of `MEASURES` that are known
    loop_alarm: bool
    override_alarm: bool


class LoopBook(Protocol):
    """Where the evaluator leaves what it found."""

    def signals(self) -> Sequence[LoopSignal]:
        """Say how the loop of every model is."""
        ...


class NoLoops:
    """A book in which nothing stands."""

    def signals(self) -> Sequence[LoopSignal]:
        """Say nothing."""
        return ()


NO_LOOPS = NoLoops()


class LoopMetrics(Collector):
    """Gauges of every model that explores."""

    def __init__(self, book: LoopBook) -> None:
        self._book = book

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Name the gauges, without asking anybody."""
        return self._families([])

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read the book; where it cannot be read, the gauges are absent."""
        try:
            signals = self._book.signals()
        except Exception as error:  # noqa: BLE001  a scrape must not fail for one source
            _log.warning("loop health cannot be read: %s", type(error).__name__)
            signals = []
        yield from self._families(signals)

    def _families(self, signals: Sequence[LoopSignal]) -> list[GaugeMetricFamily]:
        health = GaugeMetricFamily(
            "handrail_loop_health",
            "Of the last window of a model's feedback loop.",
            labels=("model", "measure"),
        )
        alarm = GaugeMetricFamily(
            "handrail_loop_alarm",
            "1 while the loop feeds itself, or something replaces what was drawn.",
            labels=("model", "alarm"),
        )
        for signal in signals:
            for measure, value in signal.measures.items():
                health.add_metric((signal.model, measure), value)
            alarm.add_metric((signal.model, "loop"), signal.loop_alarm)
            alarm.add_metric((signal.model, "override"), signal.override_alarm)
        return [health, alarm]
