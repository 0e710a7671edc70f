"""How much may be in flight, learnt from how much of their time requests really needed."""

import math
from collections.abc import Callable

WINDOW_NS = 100_000_000  # between two changes at least, as in Envoy
SAMPLES = 10  # fewer have no 90th percentile
QUANTILE = 0.9
TARGET = 0.9  # share of its time that a request may need
RELAXED = 0.5  # below it nobody is in a hurry, and there is no limit
ROUNDS = 2  # even alone, a request may wait for the batch before it, and then takes its own
LEAST_ROWS = 4.0  # a batch at work and one behind it go on, whatever was measured
MOST_CUT = 0.5  # by one change, as in Netflix' Gradient2
GROWTH = 1.1


class GradientLimit:
    """Limit of the rows in flight: ``rows * target / measured``, and up again by tenths.

    Envoy and Netflix divide the least latency they measured by that of now.  Here that would
    throttle the best state: batches form without a timer, so 64 clients of a tiny model rightly
    wait 20 times as long as one does, at ten times the throughput.  More in flight never lowers
    the throughput of a server that batches; what ends the growth is the deadline.  So what is
    measured is the share of its time that a request needed, and the target is that nine in ten
    need at most nine tenths of it.  Who is alone may need two rounds of the model: less than
    that is never the target, because no limit brings it about.

    What it adds to the predicted wait, in simulation: nothing while the prediction is right,
    because nobody who was admitted then needs all of his time.  Where the prediction sees
    nothing, the goodput is the same, but of those let in four in ten wait in vain without this
    limit, and none with it.  Where batches of one size differ by a third in cost, or the model
    has just become slower, fewer wait in vain.  For single inputs that cost thirty times as much
    as others it does not help.

    Mutable and without locks: every call comes from the replica's event loop.

    Source: the gradient controller of Envoy's adaptive concurrency filter, and Gradient2Limit of
    Netflix' concurrency-limits; both with another baseline.
    """

    def __init__(self, *, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._shares: list[float] = []
        self._peak_rows = 0
        self._changed_ns = now_ns()
        self.rows = math.inf

    def observe(self, *, began_ns: int, left_ns: int, round_ns: float, in_flight_rows: int) -> None:
        """Take in one request that was answered, or waited in vain.

        Args:
            began_ns: When it was admitted, on the clock given.
            left_ns: How much time it had then.
            round_ns: What the model takes for one row as a rule.
            in_flight_rows: Of all requests when this one ended, itself among them.
        """
        if began_ns < self._changed_ns:
            return  # it saw the limit before this one; counted, every change would overshoot
        now_ns = self._now_ns()
        allowed_ns = max(TARGET * left_ns, ROUNDS * round_ns, 1.0)
        self._shares.append(TARGET * (now_ns - began_ns) / allowed_ns)
        self._peak_rows = max(self._peak_rows, in_flight_rows)
        if len(self._shares) >= SAMPLES and now_ns - self._changed_ns >= WINDOW_NS:
            self._change()
            self._shares.clear()
            self._peak_rows = 0
            self._changed_ns = now_ns

    def _change(self) -> None:
        """Set the limit by what was measured since the last change."""
        measured = sorted(self._shares)[int(QUANTILE * len(self._shares))]
        if measured < RELAXED:
            self.rows = math.inf
        elif measured <= TARGET:
            self.rows *= GROWTH
        else:
            cut = max(TARGET / measured, MOST_CUT)
            self.rows = max(min(self.rows, self._peak_rows) * cut, LEAST_ROWS)
