"""The two kinds of record share a journal and are never taken for each other."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.record.decision import Decision, decode, encode
from gateway.record.traffic import (
    TrafficRecord,
    decode_traffic,
    encode_traffic,
    is_traffic,
    pack_counts,
    unpack_counts,
)
from guards.drift.cells import CELLS

RECORD = TrafficRecord("digits", "3", "sha256:abc", "e1", 12, {"features": b"\x00"})


def test_each_kind_is_read_as_what_it_is(make_decision: Callable[..., Decision]) -> None:
    decision = encode(make_decision())

    assert not is_traffic(decision)
    assert is_traffic(encode_traffic(RECORD))
    assert decode_traffic(encode_traffic(RECORD)) == RECORD
    with pytest.raises(msgspec.DecodeError):
        decode(encode_traffic(RECORD))


@given(st.integers(1, 5), st.data())
def test_counts_come_back_as_they_were(channels: int, data: Any) -> None:
    flat = data.draw(st.lists(st.integers(0, 2**62), min_size=CELLS, max_size=CELLS))
    counts = np.tile(np.array(flat, np.int64), (channels, 1))

    np.testing.assert_array_equal(unpack_counts(pack_counts(counts)), counts)


@pytest.mark.parametrize("packed", [b"", b"nonsense", pack_counts(np.zeros((1, 3), np.int64))])
def test_what_holds_no_counts_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"no counts|reshape"):
        unpack_counts(packed)
