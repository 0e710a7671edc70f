"""Loop health among the metrics."""

from collections.abc import Sequence

from prometheus_client import generate_latest

from gateway.record.loop_signal import LoopSignal
from gateway.record.metrics import Metrics


class _Book:
    def __init__(self, *signals: LoopSignal) -> None:
        self._signals = signals

    def signals(self) -> Sequence[LoopSignal]:
        if not self._signals:
            raise OSError("the database is away")
        return self._signals


def _text(book: _Book) -> str:
    return generate_latest(Metrics(lag_s=lambda: 0.0, loops=book).registry).decode()


def test_every_measure_and_both_alarms_of_a_model_are_shown() -> None:
    text = _text(
        _Book(LoopSignal("feed", {"coverage": 0.5}, loop_alarm=True, override_alarm=False))
    )

    assert 'handrail_loop_health{measure="coverage",model="feed"} 0.5' in text
    assert 'handrail_loop_alarm{alarm="loop",model="feed"} 1.0' in text
    assert 'handrail_loop_alarm{alarm="override",model="feed"} 0.0' in text


def test_a_book_that_cannot_be_read_leaves_the_other_metrics() -> None:
    text = _text(_Book())

    assert "handrail_recorder_lag_seconds" in text
    assert "handrail_loop_alarm{" not in text
