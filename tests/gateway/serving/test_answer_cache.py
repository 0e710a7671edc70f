"""What a cache of answers may hold, and for how long."""

import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.serving.answer_cache import AnswerCache

MAX_AGE_NS = 1_000
ENTRIES = 3


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


def cache_of(clock: Clock, *, entries: int = ENTRIES, max_bytes: int = 1 << 20) -> AnswerCache:
    return AnswerCache(
        entries=entries, max_age_s=MAX_AGE_NS / 1e9, max_bytes=max_bytes, now_ns=clock
    )


def answer(value: float, rows: int = 1) -> dict[str, np.ndarray]:
    return {"y": np.full((rows, 1), value, np.float32)}


keys = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), keys, st.integers(0, 99)),
        st.tuples(st.just("get"), keys, st.just(0)),
        st.tuples(st.just("wait"), st.just(b""), st.integers(0, 2 * MAX_AGE_NS)),
    ),
    max_size=60,
)


@given(steps=steps)
def test_it_gives_the_last_answer_to_the_same_inputs_or_none(
    steps: list[tuple[str, bytes, int]],
) -> None:
    clock = Clock()
    cache = cache_of(clock)
    expected: OrderedDict[bytes, tuple[int, int]] = OrderedDict()  # key -> value, stored_ns

    for what, key, number in steps:
        if what == "wait":
            clock.ns += number
        elif what == "put":
            cache.put(key, answer(number))
            expected.pop(key, None)
            expected[key] = (number, clock.ns)
            if len(expected) > ENTRIES:
                expected.popitem(last=False)
        else:
            found = cache.get(key)
            value, stored_ns = expected.get(key, (0, -1))
            if stored_ns < 0 or clock.ns - stored_ns > MAX_AGE_NS:
                expected.pop(key, None)
                assert found is None
            else:
                expected.move_to_end(key)
                assert found is not None
                assert (found[0]["y"].item(), found[1]) == (value, clock.ns - stored_ns)
        assert len(cache) == len(expected)


@given(
    rows=st.lists(st.integers(1, 2000), min_size=1, max_size=40),
    max_bytes=st.integers(1_000, 20_000),
)
def test_it_never_holds_more_bytes_than_it_may(rows: list[int], max_bytes: int) -> None:
    cache = cache_of(Clock(), entries=1000, max_bytes=max_bytes)

    for i, n in enumerate(rows):
        cache.put(b"%d" % (i % 7), answer(i, rows=n))

        assert 0 <= cache.size_bytes <= max_bytes
        assert (cache.size_bytes == 0) == (len(cache) == 0)


def test_an_answer_too_large_to_keep_takes_the_older_one_with_it(clock: Clock) -> None:
    cache = cache_of(clock, max_bytes=2_000)
    cache.put(b"a", answer(1.0))

    cache.put(b"a", answer(2.0, rows=1_000))

    assert cache.get(b"a") is None
    assert cache.size_bytes == 0


def test_what_is_kept_does_not_change_with_the_batch_it_came_from(clock: Clock) -> None:
    cache, batch = cache_of(clock), np.zeros((8, 1), np.float32)
    cache.put(b"a", {"y": batch[2:3]})

    batch[:] = 7.0

    found = cache.get(b"a")
    assert found is not None
    assert found[0]["y"].tolist() == [[0.0]]
    assert found[0]["y"].base is None  # else one kept row would keep the whole batch


@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
def test_the_bytes_it_counts_are_no_fewer_than_it_takes(clock: Clock, datatype: str) -> None:
    cache = cache_of(clock, entries=1_000_000, max_bytes=1 << 30)
    tracemalloc.start()
    before_bytes, _ = tracemalloc.get_traced_memory()
    for i in range(2_000):
        row = np.full((1, 3), i, np.float32 if datatype == "FP32" else np.object_)
        if datatype == "BYTES":
            row[0] = [b"%099d" % (3 * i + k) for k in range(3)]
        cache.put(i.to_bytes(16), {"y": row})
    after_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert after_bytes - before_bytes <= cache.size_bytes <= 1.5 * (after_bytes - before_bytes)
