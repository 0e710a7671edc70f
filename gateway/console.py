"""Where commands print for people."""

import os
import sys

from rich.console import Console

UNKNOWN_WIDTH = 160  # columns, into a file or a pipe: no table is to lose figures there


def open_console() -> Console:
    """Open standard output, as wide as its window or ``COLUMNS``, else `UNKNOWN_WIDTH`."""
    is_known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if is_known else UNKNOWN_WIDTH)
