"""Batches that fit into the device's memory: what does not fit is halved, and remembered."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import OutOfMemoryError, OutOfTimeError
from models.runtime.protocol import Runtime, Tensors

# Memory that somebody else took comes back, so the limit is doubled once per minute: where it
# does not, that costs one failed call per minute.
RETRY_NS = 60 * 1_000_000_000


class RowLimit:
    """The most rows that fit into one call, as far as is known; none until a call was too large.

    Written by the thread that predicts, read by any: one assignment, so no reader sees half.
    """

    def __init__(self, model: str, now_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self.model = model
        self._now_ns = now_ns
        self._learnt: tuple[int, int] | None = None  # rows, and when

    @property
    def rows(self) -> int | None:
        """The most rows to send at once; None: nobody knows of a limit."""
        if self._learnt is None:
            return None
        rows, at_ns = self._learnt
        return rows << min((self._now_ns() - at_ns) // RETRY_NS, 32)

    def learn(self, rows: int) -> None:
        """Remember that a call had to be cut to ``rows`` rows, and that those fitted."""
        known = self.rows
        if known is None or rows < known:
            self._learnt = rows, self._now_ns()


def predict_fitting(
    runtime: Runtime,
    inputs: Tensors,
    *,
    limit: RowLimit,
    deadline_ns: int | None = None,
    now_ns: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, NDArray[Any]]:
    """Predict ``n`` rows, in as many calls as the memory makes necessary; in their order.

    Args:
        runtime: Raises `OutOfMemoryError` for too many rows.
        inputs: Not modified.
        limit: Learns what fits.
        deadline_ns: No further call begins after it.
        now_ns: The clock of ``deadline_ns``.

    Raises:
        OutOfMemoryError: one row alone does not fit.
        OutOfTimeError: the deadline came between two calls.
        ModelError: whatever the runtime raises.
    """
    rows = len(next(iter(inputs.values())))
    most = limit.rows
    if most is not None and most < rows:
        return _in_parts(
            runtime, inputs, most=most, limit=limit, deadline_ns=deadline_ns, now_ns=now_ns
        )
    try:
        return runtime.predict(inputs, deadline_ns=deadline_ns)
    except OutOfMemoryError:
        if rows == 1:
            raise
    half = (rows + 1) // 2
    outputs = _in_parts(
        runtime, inputs, most=half, limit=limit, deadline_ns=deadline_ns, now_ns=now_ns
    )
    # Only now: a row that fits nowhere says nothing about batches without it.
    limit.learn(half)
    return outputs


def _in_parts(
    runtime: Runtime,
    inputs: Tensors,
    *,
    most: int,
    limit: RowLimit,
    deadline_ns: int | None,
    now_ns: Callable[[], int],
) -> dict[str, NDArray[Any]]:
    """Predict at most ``most`` rows at a time."""
    rows = len(next(iter(inputs.values())))
    answers = []
    for start in range(0, rows, most):
        if deadline_ns is not None and now_ns() >= deadline_ns:
            raise OutOfTimeError(limit.model)
        part = {name: array[start : start + most] for name, array in inputs.items()}
        answers.append(
            predict_fitting(runtime, part, limit=limit, deadline_ns=deadline_ns, now_ns=now_ns)
        )
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
