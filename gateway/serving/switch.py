"""What closes exploration for everybody in this replica, looked at before every batch."""

from collections.abc import Callable

from gateway.registry.switches import Switch

FULL = 0.8  # of what the journal buffers: beyond it, a record may not be written


class ExploreGate:
    """The kill switch, and the journal: no log, no exploring.  Used on the event loop."""

    def __init__(
        self, *, is_healthy: Callable[[], bool], filled_share: Callable[[], float]
    ) -> None:
        self._is_healthy = is_healthy
        self._filled_share = filled_share
        self._switch: Switch | None = None  # nobody has said yet that it is on

    def turn(self, switch: Switch) -> int:
        """Take a newer state; return the revision that holds afterwards."""
        if self._switch is None or switch.revision >= self._switch.revision:
            self._switch = switch
        return self._switch.revision

    def closed(self) -> str | None:
        """Say why nothing may be explored now; None: it may."""
        if self._switch is None or not self._switch.is_on:
            return "kill_switch"
        if not self._is_healthy():
            return "journal"
        return "journal_queue" if self._filled_share() > FULL else None
