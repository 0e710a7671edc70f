"""What closes exploration for everybody in this replica, looked at before every batch."""

import logging
import time
from collections.abc import Callable

from gateway.registry.switches import Switch

log = logging.getLogger(__name__)

FULL = 0.8  # of what the journal buffers: beyond it, a record may not be written
STALE_S = 10.0  # without a word of the switch: nobody can turn it off any more, so it is off


class ExploreGate:
    """The kill switch, and the journal: no log, no exploring.  Used on the event loop."""

    def __init__(
        self,
        *,
        is_healthy: Callable[[], bool],
        filled_share: Callable[[], float],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_healthy = is_healthy
        self._filled_share = filled_share
        self._now_s = now_s
        self._heard_s = now_s()
        self._switch: Switch | None = None  # nobody has said yet that it is on

    def turn(self, switch: Switch) -> int:
        """Take a newer state; return the revision that holds afterwards."""
        self._heard_s = self._now_s()
        if self._switch is None or switch.revision >= self._switch.revision:
            self._switch = switch
        return self._switch.revision

    def closed(self) -> str | None:
        """Say why nothing may be explored now; None: it may.  A gate that fails is closed."""
        try:
            return self._why()
        except Exception as error:  # noqa: BLE001  a fault of exploring must not fail a request
            log.error("the gate of exploration failed: %s", type(error).__name__)
            return "error"

    def _why(self) -> str | None:
        if self._switch is None or not self._switch.is_on:
            return "kill_switch"
        if self._now_s() - self._heard_s > STALE_S:
            return "kill_switch_unknown"
        if not self._is_healthy():
            return "journal"
        return "journal_queue" if self._filled_share() > FULL else None
