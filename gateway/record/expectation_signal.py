"""How expectations stand, among the metrics: what pages people is built on these."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

STATES = ("holds", "violated", "unknown")
_log = logging.getLogger(__name__)


class ExpectationSignal(NamedTuple):
    """One expectation of a live version."""

    model: str
    version: str
    expectation: str
    state: str  # one of `STATES`


class ExpectationBook(Protocol):
    """Where the evaluator leaves what it found."""

    def signals(self) -> Sequence[ExpectationSignal]:
        """Say how every expectation stands."""
        ...


class NoExpectations:
    """A book in which nothing stands."""

    def signals(self) -> Sequence[ExpectationSignal]:
        """Say nothing."""
        return ()


NO_EXPECTATIONS = NoExpectations()


class ExpectationMetrics(Collector):
    """One series per state, as OpenMetrics' state sets have it: that which holds is 1."""

    def __init__(self, book: ExpectationBook) -> None:
        self._book = book

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Name the gauge, without asking anybody."""
        return [self._family([])]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read the book; where it cannot be read, the gauge is absent."""
        try:
            signals = self._book.signals()
        except Exception as error:  # noqa: BLE001  a scrape must not fail for one source
            _log.warning("expectations cannot be read: %s", type(error).__name__)
            signals = []
        yield self._family(signals)

    def _family(self, signals: Sequence[ExpectationSignal]) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "handrail_expectation",
            "1 for the state that an expectation of the live version is in.",
            labels=("model", "version", "expectation", "state"),
        )
        for signal in signals:
            about = (signal.model, signal.version, signal.expectation)
            for state in STATES:
                family.add_metric((*about, state), signal.state == state)
        return family
