"""Where commands print for people."""

import os
import sys

from rich.console import Console

READ_LATER = 160  # columns, where nobody's window says how many: a table is not to lose its figures


def open_console() -> Console:
    """Open the standard output: as wide as its window, if it goes to one, or as ``COLUMNS``."""
    is_told = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if is_told else READ_LATER)
