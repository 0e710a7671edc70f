"""Every value falls into one cell, what is not there included."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.drift.cells import CELLS, EDGES, MISSING, NONFINITE, OTHER, UNSEEN, count, text_codes
from guards.drift.reference import Channel, Reference
from guards.errors import ShapeMismatchError

RNG = np.random.default_rng(0)
NUMBERS = Reference.fit(
    [Channel("a", RNG.normal(size=500)), Channel("b", RNG.exponential(size=700))]
)
values = st.floats(width=32) | st.sampled_from([0.0, -0.0, np.nan, np.inf, -np.inf])


def test_an_outage_is_counted_and_not_dropped() -> None:
    rows = np.array([[np.nan, 1.0], [np.nan, 1.0], [0.0, np.inf]])

    counts = count(NUMBERS.layout.codes(rows))

    assert counts[0, MISSING] == 2
    assert counts[1, NONFINITE] == 1
    assert (counts.sum(axis=1) == 3).all()


@given(st.lists(st.tuples(values, values), min_size=1, max_size=40))
def test_one_row_at_a_time_and_all_at_once_fall_into_the_same_cells(rows: list[tuple]) -> None:
    table = np.array(rows, np.float32)

    together = NUMBERS.layout.codes(np.tile(table, (40, 1)))[: len(table)]
    apart = np.concatenate([NUMBERS.layout.codes(row[None]) for row in table])

    np.testing.assert_array_equal(together, apart)
    assert ((together >= 0) & (together < CELLS)).all()


def test_values_beyond_the_reference_have_cells_of_their_own() -> None:
    edges = NUMBERS.layout.edges[0][np.isfinite(NUMBERS.layout.edges[0])]
    low, high, last = edges[0], edges[-1], len(edges)

    codes = NUMBERS.layout.codes(np.array([[low - 1, 0.0], [high + 1, 0.0], [high, 0.0]]))

    assert codes[:, 0].tolist() == [0, last, last - 1]
    assert NUMBERS.counts[0, last] == 0


def test_a_category_is_known_rare_or_unseen() -> None:
    frequent = np.repeat(np.arange(EDGES, dtype=float), 10)
    layout = Reference.fit(
        [Channel("shop", np.append(frequent, [500.0, 501.0]), "categorical")]
    ).layout

    codes = layout.codes(np.array([[0.0], [32.0], [500.0], [501.0], [7.5], [999.0], [np.nan]]))

    assert codes[:, 0].tolist() == [0, 32, OTHER, OTHER, UNSEEN, UNSEEN, MISSING]


def test_texts_are_categories_too() -> None:
    layout = Reference.fit(
        [Channel("kind", text_codes(["tea", "tea", "café", None]), "categorical")]
    ).layout

    codes = layout.codes(text_codes(["tea", "café", "beer", None])[:, None])[:, 0]

    assert len({codes[0], codes[1]} & set(range(EDGES))) == 2
    assert codes[2:].tolist() == [UNSEEN, MISSING]


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(ShapeMismatchError, match=r"\(n, 2\)"):
        NUMBERS.layout.codes(np.zeros((3, 1)))
