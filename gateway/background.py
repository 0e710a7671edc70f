"""Processes that work beside those that answer: they go second, and read records in bulk."""

import gc
import os

NICENESS = 10
# Thousands of records are alive at a time and hold no cycles: looking for some among them took a
# quarter of the evaluator's time.
_NEW_OBJECTS, _YOUNG, _MIDDLE = 100_000, 20, 20


def step_back() -> None:
    """Let requests go first, and the garbage collector look seldom; for a process of its own.

    The threads that this one starts are nice as well.  Not SCHED_IDLE: who holds the lock of the
    database, which labels wait for, must go on also where no processor is ever free.
    """
    os.nice(NICENESS)
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _YOUNG, _MIDDLE)
