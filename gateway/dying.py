"""The end of a process that must not go on."""

import logging
import os
from typing import NoReturn

log = logging.getLogger(__name__)

LOST_DEVICE = 70  # exit code: EX_SOFTWARE of sysexits.h


def end_process(reason: Exception) -> NoReturn:
    """End at once, from any thread: no answer, no handler and no buffer may come after this.

    Serve sees the process gone and starts another; HAProxy repeats its requests elsewhere.
    """
    log.critical("this process ends: %s", reason)
    os._exit(LOST_DEVICE)
