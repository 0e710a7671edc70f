"""When a model is left alone: the circuit breaker of a version.

Closed: calls go through and are watched.  Open: nobody calls, so that a failing model costs its
callers nothing and has time to come back.  Half-open: one call at a time goes through, the
*probe*, and what becomes of it decides.

Source: Nygard, "Release It!" (2007), section 5.2; pauses as in Brooker, "Exponential backoff and
jitter" (AWS Architecture Blog, 2015), "equal jitter".
"""

import math
from collections import deque
from collections.abc import Callable
from enum import Enum
from types import TracebackType

from gateway.errors import BreakerOpenError

NS_PER_S = 1_000_000_000
WINDOW_NS = 10 * NS_PER_S  # older calls say nothing about now
LEAST_CALLS = 20  # fewer prove nothing: of 4 calls, 2 fail by chance
MOST_CALLS = 200  # the latest count; bounds memory, and seconds of good calls hide no failure
FAILED_SHARE = 0.5
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 30.0


class State(Enum):
    """Whether calls go through; the values are those of metrics and status."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Event(Enum):
    """What changes a state."""

    TOO_MANY_FAILED = "too_many_failed"
    PAUSE_OVER = "pause_over"
    PROBE_SUCCEEDED = "probe_succeeded"
    PROBE_FAILED = "probe_failed"


# What is not here cannot happen.  A probe that ends without success or failure (its client left,
# its input was bad) changes nothing: the next call is the probe.
TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.CLOSED, Event.TOO_MANY_FAILED): State.OPEN,
    (State.OPEN, Event.PAUSE_OVER): State.HALF_OPEN,
    (State.HALF_OPEN, Event.PROBE_SUCCEEDED): State.CLOSED,
    (State.HALF_OPEN, Event.PROBE_FAILED): State.OPEN,
}


class Breaker:
    """Opens when half of a version's latest calls failed; then tries one now and again.

    What a failure is, the caller says: the model failed, answered with what is no number, or
    took longer than the budget by itself.  That a request waited too long is none, or overload
    would open the breaker, and a slow minute become an outage.  Failures may also be the doing
    of what was asked: whoever opens it looks at once, with `probe_now`, whether the model is to
    blame.

    Mutable and without locks: every call comes from the replica's event loop.
    """

    def __init__(
        self, model: str, *, now_ns: Callable[[], int], random: Callable[[], float]
    ) -> None:
        """Start closed.

        Args:
            model: Its name, for the error.
            now_ns: Monotonic.
            random: Draws from [0, 1), so that replicas that opened together do not probe together.
        """
        self._model = model
        self._now_ns = now_ns
        self._random = random
        self._window = _Window()
        self._pauses = 0  # since it was last closed
        self._open_until_ns = 0
        self._probe: Call | None = None
        self.state = State.CLOSED

    def call(self) -> "Call":
        """Begin a call; use it as a context manager, so that a probe always ends.

        Raises:
            BreakerOpenError: the model is left alone, or a probe is under way.
        """
        if self.state is State.CLOSED:
            return Call(self, self._window)
        now_ns = self._now_ns()
        if self.state is State.OPEN and now_ns >= self._open_until_ns:
            self._change(Event.PAUSE_OVER)
        if self.state is State.OPEN or self._probe is not None:
            left_s = (self._open_until_ns - now_ns) / NS_PER_S
            raise BreakerOpenError(self._model, max(1, math.ceil(left_s)))
        self._probe = Call(self, self._window)
        return self._probe

    def probe_now(self) -> "Call":
        """Begin the probe of an open breaker without waiting for the pause to be over."""
        self._change(Event.PAUSE_OVER)
        self._probe = Call(self, self._window)
        return self._probe

    def end(self, call: "Call", *, failed: bool | None) -> None:
        """Take in what became of ``call``; None: neither success nor failure."""
        now_ns = self._now_ns()
        if call is self._probe:
            self._probe = None
            if failed is not None:
                self._change(Event.PROBE_FAILED if failed else Event.PROBE_SUCCEEDED)
        # A call from before the breaker last opened says nothing about the model of today.
        elif failed is not None and self.state is State.CLOSED and call.window is self._window:
            self._window.add(now_ns, failed=failed)
            if failed and self._window.is_bad:
                self._change(Event.TOO_MANY_FAILED)
                call.has_opened = True

    def _change(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state, event]
        if self.state is State.OPEN:
            whole_s = min(FIRST_PAUSE_S * 2.0**self._pauses, LONGEST_PAUSE_S)
            pause_s = whole_s / 2 + whole_s / 2 * self._random()
            self._open_until_ns = self._now_ns() + int(pause_s * NS_PER_S)
            self._pauses += 1
        elif self.state is State.CLOSED:
            self._pauses = 0
            self._window = _Window()


class Call:
    """One call of the model: say `succeeded` or `failed`, or leave without for neither."""

    __slots__ = ("_breaker", "_failed", "has_opened", "window")

    def __init__(self, breaker: Breaker, window: "_Window") -> None:
        self._breaker = breaker
        self._failed: bool | None = None
        self.window = window  # that it counts in
        self.has_opened = False  # it was one failure too many

    def succeeded(self) -> None:
        """Say that the model answered, whatever the guards think of it."""
        self._failed = False

    def failed(self) -> None:
        """Say that the model failed by itself; see `Breaker`."""
        self._failed = True

    def __enter__(self) -> "Call":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._breaker.end(self, failed=self._failed)


class Breakers:
    """One breaker per version, made when it is first asked for; replaced weights start anew."""

    def __init__(self, *, now_ns: Callable[[], int], random: Callable[[], float]) -> None:
        self._now_ns = now_ns
        self._random = random
        self._by_digest: dict[str, Breaker] = {}

    def of(self, digest: str, *, model: str) -> Breaker:
        """Find the breaker of a version by the digest of its bundle."""
        breaker = self._by_digest.get(digest)
        if breaker is None:
            breaker = Breaker(model, now_ns=self._now_ns, random=self._random)
            self._by_digest[digest] = breaker
        return breaker


class _Window:
    """The latest calls since the breaker was last closed."""

    def __init__(self) -> None:
        self._calls: deque[tuple[int, bool]] = deque()  # when it ended, whether it failed
        self._failed = 0

    def add(self, now_ns: int, *, failed: bool) -> None:
        """Count one call, and forget those that are too old or too many."""
        self._calls.append((now_ns, failed))
        self._failed += failed
        while len(self._calls) > MOST_CALLS or self._calls[0][0] <= now_ns - WINDOW_NS:
            self._failed -= self._calls.popleft()[1]

    @property
    def is_bad(self) -> bool:
        """Whether too many of them failed."""
        calls = len(self._calls)
        return calls >= LEAST_CALLS and self._failed >= FAILED_SHARE * calls
