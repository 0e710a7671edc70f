"""A batch that does not fit into the memory is answered in parts, and nobody notices."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import OutOfMemoryError, OutOfTimeError
from models.runtime.fitting import RETRY_NS, RowLimit, predict_fitting


class Small:
    """A device that holds ``fits`` rows, and never the row ``huge``."""

    def __init__(self, fits: int, *, huge: float | None = None, call_ns: int = 0) -> None:
        self.fits = fits
        self.huge = huge
        self.call_ns = call_ns
        self.now_ns = 0
        self.calls: list[int] = []

    def clock(self) -> int:
        return self.now_ns

    def predict(self, inputs: Any, *, deadline_ns: int | None = None) -> Any:
        rows = inputs["x"]
        self.calls.append(len(rows))
        self.now_ns += self.call_ns
        if len(rows) > self.fits or (self.huge is not None and self.huge in rows):
            raise OutOfMemoryError("m")
        return {"y": rows * 2, "z": rows[:, 0]}


def ask(device: Small, rows: int, limit: RowLimit, **fields: Any) -> Any:
    inputs = {"x": np.arange(rows, dtype=np.float32)[:, None]}
    return predict_fitting(device, inputs, limit=limit, now_ns=device.clock, **fields)


@given(rows=st.integers(1, 70), fits=st.integers(1, 80), known=st.integers(0, 80))
def test_every_row_has_the_answer_it_would_have_had_in_one_call(
    rows: int, fits: int, known: int
) -> None:
    device = Small(fits)
    limit = RowLimit("m", device.clock)
    if known:
        limit.learn(known)

    outputs = ask(device, rows, limit)

    np.testing.assert_array_equal(outputs["y"][:, 0], np.arange(rows) * 2)
    np.testing.assert_array_equal(outputs["z"], np.arange(rows))
    assert len(device.calls) <= 2 * rows


def test_what_fits_is_remembered_and_no_call_fails_again() -> None:
    device = Small(10)
    limit = RowLimit("m", device.clock)
    ask(device, 64, limit)
    assert limit.rows == 8
    device.calls.clear()

    ask(device, 20, limit)

    assert device.calls == [8, 8, 4]


def test_a_batch_that_fits_is_one_call_and_teaches_nothing() -> None:
    device = Small(64)
    limit = RowLimit("m", device.clock)
    ask(device, 64, limit)

    assert device.calls == [64]
    assert limit.rows is None


def test_a_row_that_fits_nowhere_says_nothing_about_the_others() -> None:
    device = Small(64, huge=0.0)
    limit = RowLimit("m", device.clock)

    with pytest.raises(OutOfMemoryError):
        ask(device, 16, limit)
    assert limit.rows is None
    assert device.calls == [16, 8, 4, 2, 1]


def test_memory_that_comes_back_is_used_again() -> None:
    device = Small(8)
    limit = RowLimit("m", device.clock)
    ask(device, 16, limit)
    device.fits = 64
    device.now_ns += 3 * RETRY_NS
    device.calls.clear()

    ask(device, 64, limit)

    assert device.calls == [64]


def test_no_part_begins_after_the_deadline() -> None:
    device = Small(4, call_ns=10)
    limit = RowLimit("m", device.clock)

    with pytest.raises(OutOfTimeError):
        ask(device, 16, limit, deadline_ns=35)
    assert device.calls == [16, 8, 4, 4]
