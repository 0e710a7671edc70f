"""Who may wait: nobody reaches the model without a permit."""

import math
from types import TracebackType

from gateway.errors import ShedError
from gateway.serving.batcher import Batcher
from gateway.serving.versions import LoadedVersion


class Permit:
    """Proof of admission, returned when the ``with`` block ends."""

    __slots__ = ("_admission",)

    def __init__(self, admission: "Admission") -> None:
        self._admission = admission

    def __enter__(self) -> "Permit":
        self._admission.in_flight += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._admission.in_flight -= 1


class Admission:
    """Sheds a request that would wait longer than it has time, before any work is done."""

    def __init__(self, batcher: Batcher, *, max_queued_rows: int) -> None:
        self._batcher = batcher
        self._max_queued_rows = max_queued_rows
        self.in_flight = 0

    def admit(self, version: LoadedVersion, *, rows: int, left_ns: int) -> Permit:
        """Let a request in.

        Raises:
            ShedError: the queue is full, or what is queued alone takes longer than ``left_ns``.
        """
        queued = self._batcher.queued_rows
        wait_ns = self._batcher.predicted_wait_ns(version) if queued else 0.0
        is_full = queued > 0 and queued + rows > self._max_queued_rows
        if is_full or (queued and wait_ns > left_ns > 0):
            raise ShedError(version.manifest.name, max(1, math.ceil(wait_ns / 1e9)))
        return Permit(self)
