"""Work that may wait while requests are answered."""

import contextlib
import os

_NICENESS = 10  # where there is no policy for it


def yield_to_requests() -> None:
    """Run the calling thread, and those that it starts, while the processors have nothing else.

    A thread of the policy SCHED_IDLE makes way at once for any other that wakes up.  One that
    is merely nice may first use up its slice, which is longer than a request takes.
    """
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            return
    os.nice(_NICENESS)
