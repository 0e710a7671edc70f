"""Who may wait: nobody reaches the model without a permit.

Three questions, in this order: do the latencies of late allow more in flight, is there room in the
queue, and would it be answered in time?
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from gateway.errors import ShedError
from gateway.serving.batcher import Batcher
from gateway.serving.gradient import GradientLimit
from gateway.serving.versions import LoadedVersion

HIGHEST = 1


@dataclass(slots=True)
class Permit:
    """Proof of admission, returned when the ``with`` block ends."""

    admission: "Admission"
    version: LoadedVersion
    rows: int
    left_ns: int
    began_ns: int

    def __enter__(self) -> "Permit":
        self.admission.take(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.admission.give_back(self, is_answered=kind is None)


class Admission:
    """Sheds a request that would not be answered in time, before any work is done for it.

    Under pressure lower priorities are shed first: see `share_of`.  Who finds nobody before him
    is always admitted; otherwise a limit or a cost profile that is wrong would shut the model
    off, and nothing were left to correct it.

    Mutable and without locks: every call comes from the replica's event loop.
    """

    def __init__(
        self,
        batcher: Batcher,
        *,
        max_queued_rows: int,
        now_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self._batcher = batcher
        self._max_queued_rows = max_queued_rows
        self._now_ns = now_ns
        self.limit = GradientLimit(now_ns=now_ns)
        self.in_flight = 0
        self.in_flight_rows = 0

    def admit(
        self,
        version: LoadedVersion,
        *,
        rows: int,
        left_ns: int,
        priority: int = 0,
    ) -> Permit:
        """Let a request in.

        Args:
            version: That is to answer.
            rows: Of the request.
            left_ns: Until its deadline.
            priority: Triton's parameter: 1 is the highest, larger is lower, 0 none was given.

        Raises:
            ShedError: its class has filled its share of memory, of the limit or of the queue, or
                it would wait longer than its share of the time that the model leaves it.
        """
        wait_ns = self._batcher.predicted_wait_ns(version) if self.in_flight else 0.0
        share = share_of(priority)
        if self.in_flight and (
            self.in_flight_rows >= share * self.limit.rows
            or self._overfills_queue(rows, share)
            or wait_ns > share * (left_ns - self._own_ns(version, rows))
        ):
            raise ShedError(version.manifest.name, max(1, math.ceil(wait_ns / 1e9)))
        return Permit(self, version, rows, left_ns, self._now_ns())

    def _overfills_queue(self, rows: int, share: float) -> bool:
        """Whether there is no room; in an empty queue there always is, or some would never fit."""
        queued = self._batcher.queued_rows
        return queued > 0 and queued + rows > share * self._max_queued_rows

    def _own_ns(self, version: LoadedVersion, rows: int) -> float:
        """Predict what a request adds to the batch that it joins.

        Not what it costs alone: that counts the fixed part of a batch once more, and a model
        with a large one would be shed down to a request at a time.
        """
        queued = self._batcher.queued_rows
        alone_ns = version.cost.estimate_ns(queued) if queued else 0.0
        return max(version.cost.estimate_ns(queued + rows) - alone_ns, 0.0)

    def take(self, permit: Permit) -> None:
        """Count what ``permit`` stands for as in flight."""
        self.in_flight += 1
        self.in_flight_rows += permit.rows

    def give_back(self, permit: Permit, *, is_answered: bool) -> None:
        """Count it out again, and learn from it unless it broke off."""
        if is_answered:
            self.limit.observe(
                began_ns=permit.began_ns,
                left_ns=permit.left_ns,
                round_ns=permit.version.cost.typical_ns(1),
                in_flight_rows=self.in_flight_rows,
            )
        self.in_flight -= 1
        self.in_flight_rows -= permit.rows


def share_of(priority: int) -> float:
    """Say how much of each measure a class may fill; the rest is kept for those above it.

    A tenth of the queue is enough for the few requests that must get through, and its wait is
    short, so that the highest class also survives a profile that is a little too low.
    """
    if priority == HIGHEST:
        return 1.0
    return 0.9 if priority == 0 else 0.7
