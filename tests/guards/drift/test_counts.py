"""Merging: any partition, order or repetition of the parts gives the same bytes (T12)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.drift.cells import CELLS, count
from guards.drift.counts import Ledger
from guards.drift.monitor import DriftSettings, Monitor
from guards.drift.reference import Channel, Reference

RNG = np.random.default_rng(0)
REFERENCE = Reference.fit([Channel("a", RNG.normal(size=300)), Channel("b", RNG.normal(size=300))])
MONITOR = Monitor(REFERENCE, DriftSettings())
ROWS = RNG.normal(size=(60, 2))


def _reports(parts: list[int], epochs: list[int]) -> list[tuple[tuple[str, str], np.ndarray]]:
    """Deal rows out to three replicas, each of which reports after every row of its own."""
    codes = REFERENCE.layout.codes(ROWS)
    totals: dict[tuple[str, str], np.ndarray] = {}
    reports = []
    for row, (part, epoch) in enumerate(zip(parts, epochs, strict=True)):
        source = (f"replica-{part}", f"epoch-{epoch}")
        totals[source] = totals.get(source, 0) + count(codes[row : row + 1])
        reports.append((source, totals[source].copy()))
    return reports


@given(
    parts=st.lists(st.integers(0, 2), min_size=60, max_size=60),
    epochs=st.lists(st.integers(0, 1), min_size=60, max_size=60),
    order=st.permutations(range(60)),
    repeated=st.lists(st.integers(0, 59), max_size=30),
)
def test_parts_order_and_repetition_leave_no_trace(
    parts: list[int], epochs: list[int], order: list[int], repeated: list[int]
) -> None:
    reports = _reports(parts, epochs)
    in_order, shuffled = Ledger(2), Ledger(2)
    for source, total in reports:
        in_order = in_order.report(source, total)
    for place in [*repeated, *order, *repeated]:
        shuffled = shuffled.report(*reports[place])

    assert shuffled.to_bytes() == in_order.to_bytes()
    alone = Ledger(2).report(("one", "0"), count(REFERENCE.layout.codes(ROWS)))
    np.testing.assert_array_equal(shuffled.total(), alone.total())
    there, here = (MONITOR.advance(MONITOR.begin(), x.total()) for x in (shuffled, alone))
    assert there.wealth.log_detector.tobytes() == here.wealth.log_detector.tobytes()


@given(st.lists(st.integers(0, 2), min_size=60, max_size=60), st.integers(0, 60))
def test_ledgers_join_whoever_begins(parts: list[int], cut: int) -> None:
    reports = _reports(parts, [0] * 60)
    left, right = Ledger(2), Ledger(2)
    for source, total in reports[:cut]:
        left = left.report(source, total)
    for source, total in reports[cut:]:
        right = right.report(source, total)

    assert left.merge(right).to_bytes() == right.merge(left).to_bytes()
    assert left.merge(right, left).to_bytes() == left.merge(right).to_bytes()
    assert left.merge(left).to_bytes() == left.to_bytes()


def test_what_is_no_table_of_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="expected counts of 2 channels"):
        Ledger(2).report(("a", "0"), np.zeros((3, CELLS), np.int64))
