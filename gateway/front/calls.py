"""What every call of the service has in common: its name, its metadata, its time."""

import random
import re
from typing import Any

from gateway.errors import DeadlineError

MS_PER_S = 1000
# What is left of a call's time must also bring the answer back through this process.
RETURN_MS = 2
TIMEOUT_MAX_MS = 24 * 3600 * MS_PER_S  # clients without a deadline may send centuries

# What goes on as HTTP headers; all other metadata ends here.
_CARRIED = frozenset({"authorization", "traceparent", "tracestate"})
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,4096}")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")  # as `serving.edge.known_request_id`


class Call:
    """One call as it came in."""

    __slots__ = ("headers", "request_id")

    def __init__(self, context: Any) -> None:
        """Read the metadata; a value that cannot be a header is left out, as if never sent."""
        self.headers: list[tuple[str, str]] = []
        self.request_id = ""
        for name, value in context.invocation_metadata():
            if name in _CARRIED and isinstance(value, str) and _PRINTABLE.fullmatch(value):
                self.headers.append((name, value))
            elif name == "x-request-id" and _REQUEST_ID.fullmatch(value):
                self.request_id = value
        # Named here, so that a request which is sent twice is the same prediction.
        self.request_id = self.request_id or f"{random.getrandbits(128):032x}"
        self.headers.append(("x-request-id", self.request_id))

    def limit(self, context: Any, model: str) -> None:
        """Send the time that is left along, if the client set a deadline.

        Raises:
            DeadlineError: none is left.
        """
        left_s = context.time_remaining()
        if left_s is None:
            return
        left_ms = min(int(left_s * MS_PER_S) - RETURN_MS, TIMEOUT_MAX_MS)
        if left_ms <= 0:
            raise DeadlineError(model, [])
        self.headers.append(("x-request-timeout-ms", str(left_ms)))
