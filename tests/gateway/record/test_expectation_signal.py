"""How expectations stand, among the metrics."""

from collections.abc import Sequence

from prometheus_client import generate_latest

from gateway.record.expectation_signal import ExpectationSignal
from gateway.record.metrics import Metrics


class _Book:
    def __init__(self, *signals: ExpectationSignal) -> None:
        self._signals = signals

    def signals(self) -> Sequence[ExpectationSignal]:
        if not self._signals:
            raise OSError("the database is away")
        return self._signals


def _text(book: _Book) -> str:
    return generate_latest(Metrics(lag_s=lambda: 0.0, expectations=book).registry).decode()


def test_of_the_states_of_an_expectation_one_is_1() -> None:
    text = _text(_Book(ExpectationSignal("wine", "2", "accuracy", "violated")))

    about = 'handrail_expectation{expectation="accuracy",model="wine",state="%s",version="2"} %s'
    for state, value in {"holds": "0.0", "violated": "1.0", "unknown": "0.0"}.items():
        assert about % (state, value) in text


def test_a_book_that_cannot_be_read_leaves_the_other_metrics() -> None:
    text = _text(_Book())

    assert "handrail_recorder_lag_seconds" in text
    assert "handrail_expectation{" not in text
