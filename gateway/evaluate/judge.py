"""From the evidence to the judgements: at once where a span told, in any case a little later."""

import threading
import time
from collections.abc import Callable, Sequence

from gateway.evaluate.judgements import Judgements
from gateway.evaluate.notification import Notification
from gateway.record.evidence import Evidence

MAX_PENDING = 100_000  # notifications; beyond, senders are asked to come again
BATCH = 5000  # predictions in one read of the evidence
# Recorders of several nodes commit in any order, and may repeat a commit for a while: every
# so often the reconciler goes back this far.
SWEEP_NS = 60 * 10**9
# An older prediction is left to the reconciler: one stray span must not have the whole
# evidence searched.
NOTIFIED_WITHIN_NS = 600 * 10**9
SWEEP_MOST_NS = 5 * SWEEP_NS  # however far the position has moved meanwhile
# Read at once, and in one go: an evaluator that was away for long must neither hold all of it in
# memory nor do nothing else.
STEP_NS = 2 * 10**9
STEPS = 10
SETTLED_NS = 10 * 10**9  # a commit can be seen so long after the time that it bears
READER = "evidence"


class Judge:
    """Reads the evidence by notification and by position.  `take` may come from another thread."""

    def __init__(
        self,
        evidence: Evidence,
        judgements: Judgements,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._evidence = evidence
        self._judgements = judgements
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._pending: dict[str, int] = {}  # prediction id -> arrived_ns
        self._swept_ns = 0  # when it last went back
        self._swept_to = 0  # and where it was then
        self.notified = 0  # requests judged because a span told
        self.reconciled = 0  # requests judged without

    @property
    def pending(self) -> int:
        """Notifications that wait."""
        return len(self._pending)

    def take(self, notifications: Sequence[Notification]) -> bool:
        """Put notifications on the list; False, and none of them, if it is full."""
        with self._lock:
            if len(self._pending) + len(notifications) > MAX_PENDING:
                return False
            self._pending.update((n.prediction_id, n.arrived_ns) for n in notifications)
        return True

    def judge_notified(self) -> int:
        """Judge what is on the list; return how many requests were new.

        A prediction that the evidence does not hold yet is left to `reconcile`.
        """
        with self._lock:
            pending, self._pending = self._pending, {}
        earliest_ns = self._clock_ns() - NOTIFIED_WITHIN_NS
        recent = [(at, prediction) for prediction, at in pending.items() if at >= earliest_ns]
        recent.sort()
        changed = 0
        for start in range(0, len(recent), BATCH):
            batch = recent[start : start + BATCH]
            ids = [prediction for _, prediction in batch]
            found = self._evidence.read(since_ns=batch[0][0], ids=ids, payloads=False)
            changed += self._judgements.record(decision for _, decision in found)
        self.notified += changed
        return changed

    def reconcile(self) -> int:
        """Judge what was committed since the last time; return how many requests were new.

        Of a long backlog only a part: nothing else is judged meanwhile.
        """
        began_at = self._judgements.position(READER)
        changed = 0
        for _ in range(STEPS):
            new, is_all = self._step()
            changed += new
            if is_all:
                break
        now_ns = self._clock_ns()
        if now_ns - self._swept_ns >= SWEEP_NS:
            position = self._judgements.position(READER)
            changed += self._sweep(self._swept_to or began_at, position)
            self._swept_ns, self._swept_to = now_ns, position
        self.reconciled += changed
        return changed

    def _step(self) -> tuple[int, bool]:
        """Judge the next seconds of commits; say how many requests were new, and if that is all.

        What is about now is read without an end: whatever the reading misses is newer than all
        that it finds, and comes next time.
        """
        position = self._judgements.position(READER)
        until_ns = position + STEP_NS
        is_settled = until_ns <= self._clock_ns() - SETTLED_NS
        found = self._evidence.read(
            since_ns=position, until_ns=until_ns if is_settled else None, payloads=False
        )
        new = self._judgements.record(decision for _, decision in found)
        reached: int | None = max((committed_ns for committed_ns, _ in found), default=position)
        if is_settled and reached == position:
            reached = self._evidence.first_ns(since_ns=until_ns)
        if reached is not None and reached > position:
            self._judgements.move(READER, reached)
        return new, not is_settled or reached is None

    def _sweep(self, since_ns: int, until_ns: int) -> int:
        """Judge what was committed behind the position after it had passed: hardly ever any.

        To see that a record is known costs far less than to read it.

        Args:
            since_ns: Where the position was at the last sweep.
            until_ns: Where it is.
        """
        since_ns = max(0, since_ns - SWEEP_NS, until_ns - SWEEP_MOST_NS)
        arrivals = self._evidence.read_arrivals(since_ns=since_ns, until_ns=until_ns)
        late = self._judgements.unknown(arrivals)
        found = self._evidence.read(since_ns=since_ns, ids=late, payloads=False)
        return self._judgements.record(decision for _, decision in found)
