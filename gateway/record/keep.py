"""Which requests leave a trace.

Three ways in: the caller keeps this trace, an unbiased share by the randomness of the
trace id, or the request is special.  Special ones are capped per reason: in an incident
"always keep" would otherwise mean tracing everything, when there is least room for it.
Nothing statistical may be computed from kept traces; the evidence holds every request.
"""

from collections import Counter
from collections.abc import Callable

from gateway.config import RecordSettings
from gateway.record.decision import Decision

PARENT = "parent"
SHARE = "share"
SPECIAL = ("shed", "error", "rejected", "fallback", "flagged", "explored", "over_budget")
REASONS = (PARENT, SHARE, *SPECIAL)
_RANDOM_BITS = 56  # of a trace id, its least significant ones: W3C Trace Context level 2


class TokenBucket:
    """Lets ``per_s`` pass on average, and one second's worth at once."""

    def __init__(self, per_s: float, clock_s: Callable[[], float]) -> None:
        self._per_s = per_s
        self._clock_s = clock_s
        self._tokens = per_s
        self._filled_s = clock_s()

    def take(self) -> bool:
        """Take a token, if there is one."""
        now_s = self._clock_s()
        self._tokens = min(self._per_s, self._tokens + (now_s - self._filled_s) * self._per_s)
        self._filled_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Keeper:
    """Decides for each finished request whether it leaves a trace, and why."""

    def __init__(self, settings: RecordSettings, *, clock_s: Callable[[], float]) -> None:
        self._threshold = share_threshold(settings.trace_share)
        self._buckets = {reason: TokenBucket(settings.keep_per_s, clock_s) for reason in SPECIAL}
        self._buckets[PARENT] = TokenBucket(settings.keep_parent_per_s, clock_s)
        self._suppressed: Counter[str] = Counter()

    def reason(self, decision: Decision) -> str:
        """Say why the request leaves a trace; "" where it does not.

        An unbiased draw comes before the special reasons, so that they neither bias it nor
        pay for it.  A caller that decided not to keep its trace is respected, except for
        special requests: those leave their part of it.
        """
        if decision.parent_sampled and self._admits(PARENT):
            return PARENT
        if not decision.parent_id and randomness(decision.trace_id) >= self._threshold:
            return SHARE
        special = special_reason(decision)
        return special if special and self._admits(special) else ""

    def take_suppressed(self) -> Counter[str]:
        """Hand over how many were not kept because their reason was capped, and start anew."""
        taken, self._suppressed = self._suppressed, Counter()
        return taken

    def _admits(self, reason: str) -> bool:
        if self._buckets[reason].take():
            return True
        self._suppressed[reason] += 1
        return False


def special_reason(decision: Decision) -> str:
    """Name the first thing that is out of the ordinary, most urgent first; "" for nothing."""
    if decision.code == "shed":
        return "shed"  # apart from errors: overload must not crowd them out
    if decision.status >= 500:
        return "error"
    if decision.rejected:
        return "rejected"
    if decision.served_by.startswith("fallback"):
        return "fallback"
    if decision.flagged:
        return "flagged"
    if decision.exploration is not None and decision.exploration.changed:
        return "explored"
    return "over_budget" if decision.stages.finished_ns > decision.budget_ns else ""


def randomness(trace_id: str) -> int:
    """Read the random part of a trace id."""
    return int(trace_id, 16) & ((1 << _RANDOM_BITS) - 1)


def share_threshold(share: float) -> int:
    """Return the randomness from which a trace is kept.

    Source:
        OpenTelemetry, "TraceState: Probability Sampling", rejection threshold T.
    """
    return (1 << _RANDOM_BITS) - round(share * (1 << _RANDOM_BITS))  # exact for tiny shares


def threshold_digits(share: float) -> str:
    """Write the threshold as the ``th`` of an ``ot`` tracestate entry; ``share`` above 0."""
    return f"{share_threshold(share):0{_RANDOM_BITS // 4}x}".rstrip("0") or "0"
