"""Asks the model about a batch, so that an item which it cannot answer never fails its mates."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.serving.versions import LoadedVersion
from models.errors import NotTextError, OutOfTimeError, RuntimeFailedError, StickyDeviceError
from models.runtime.fitting import predict_fitting

log = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]
Answers = list[tuple[list[int], Arrays]]  # items, and the outputs of their rows
Bounds = Sequence[tuple[int, int]]  # first row of each item, and the row after its last


class Bisection:
    """One batch.  ``failed`` fills with why an item has no answer."""

    def __init__(
        self,
        version: LoadedVersion,
        stack: Callable[[Sequence[int]], Arrays],
        *,
        deadline_ns: int,
        now_ns: Callable[[], int],
    ) -> None:
        """Prepare to ask.

        Args:
            version: That is asked.
            stack: Puts the inputs of some items on top of each other.
            deadline_ns: No call begins after it.
            now_ns: Monotonic.
        """
        self._version = version
        self._stack = stack
        self._deadline_ns = deadline_ns
        self._now_ns = now_ns
        self.failed: dict[int, str] = {}

    def ask(self, picked: list[int], inputs: Arrays) -> Answers:
        """Predict; when that fails, halve until the items that cannot be answered stand alone.

        At most ``log2(n)`` rounds, never more than ``2 n`` calls, and none after the deadline.

        Raises:
            StickyDeviceError: the device answers nobody any more.
        """
        try:
            outputs = predict_fitting(
                self._version.runtime,
                inputs,
                limit=self._version.limit,
                deadline_ns=self._deadline_ns,
                now_ns=self._now_ns,
            )
            return [(picked, outputs)]
        except OutOfTimeError:
            return self._fail(picked, "deadline")
        except StickyDeviceError:
            raise
        except Exception as error:  # noqa: BLE001  a runtime's surprise fails its rows, not mates
            if not isinstance(error, RuntimeFailedError | NotTextError):
                name = self._version.manifest.name
                log.error("runtime of %s failed: %s", name, type(error).__name__)
            if len(picked) == 1:
                why = "not_text" if isinstance(error, NotTextError) else "model_error"
                return self._fail(picked, why)
            if self._now_ns() >= self._deadline_ns:
                return self._fail(picked, "deadline")
        half = len(picked) // 2
        return [
            answer
            for part in (picked[:half], picked[half:])
            for answer in self.ask(part, self._stack(part))
        ]

    def _fail(self, picked: list[int], why: str) -> Answers:
        """Leave some items without an answer."""
        self.failed.update((i, why) for i in picked)
        return []


def scatter(answers: Answers, bounds: Bounds) -> Arrays:
    """Put partial answers back to their rows; rows without one are empty, and never served."""
    rows = bounds[-1][1]
    scattered = {
        name: np.full((rows, *array.shape[1:]), b"" if array.dtype == object else 0, array.dtype)
        for name, array in answers[0][1].items()
    }
    for picked, outputs in answers:
        offset = 0
        for i in picked:
            start, stop = bounds[i]
            for name, array in outputs.items():
                scattered[name][start:stop] = array[offset : offset + stop - start]
            offset += stop - start
    return scattered
