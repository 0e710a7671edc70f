"""How much of the replica's memory the bodies of requests may hold, those still coming included."""

from types import TracebackType

from gateway.errors import ShedError

RETRY_AFTER_S = 1  # bodies come and go within a budget, which is seldom longer


class Intake:
    """Counts the bytes of all bodies in the replica.

    Mutable and without locks: every call comes from the replica's event loop.
    """

    def __init__(self, model: str, *, max_bytes: int) -> None:
        self._model = model
        self._max_bytes = max_bytes
        self.held_bytes = 0

    def open(self) -> "Space":
        """Make room for one body; use it as a context manager, which gives the room back."""
        return Space(self)

    def take(self, more_bytes: int, *, mine_bytes: int) -> None:
        """Count ``more_bytes`` in, for a body that holds ``mine_bytes`` already.

        A body that is alone is always taken in: its own size has a limit elsewhere.

        Raises:
            ShedError: the bodies of all requests would hold too much.
        """
        held_bytes = self.held_bytes + more_bytes
        if held_bytes > self._max_bytes and self.held_bytes > mine_bytes:
            raise ShedError(self._model, RETRY_AFTER_S)
        self.held_bytes = held_bytes


class Space:
    """The room that one body takes, from its announcement until its answer has left."""

    __slots__ = ("_bytes", "_intake")

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._bytes = 0

    def grow_to(self, size_bytes: int) -> None:
        """Take up as much, if it is more than before.

        Raises:
            ShedError: there is not so much room.
        """
        if size_bytes > self._bytes:
            self._intake.take(size_bytes - self._bytes, mine_bytes=self._bytes)
            self._bytes = size_bytes

    def __enter__(self) -> "Space":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._intake.held_bytes -= self._bytes
        self._bytes = 0
