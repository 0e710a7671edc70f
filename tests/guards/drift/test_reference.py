"""The cells suit what was seen, however odd."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.drift.cells import EDGES, MISSING
from guards.drift.reference import Channel, Reference


def test_an_atom_has_a_cell_to_itself() -> None:
    rng = np.random.default_rng(1)
    income = np.where(rng.random(1000) < 0.4, 0.0, rng.lognormal(size=1000))
    layout = Reference.fit([Channel("income", income)]).layout

    below, at, above = layout.codes(np.array([[-1e-9], [0.0], [1e-9]]))[:, 0]

    assert below < at < above
    assert Reference.fit([Channel("income", income)]).counts[0, at] == (income == 0).sum()


def test_edges_with_ties_are_not_taken_for_order_statistics() -> None:
    rng = np.random.default_rng(2)
    ties = Reference.fit([Channel("age", rng.integers(18, 90, 2000).astype(float))])
    none = Reference.fit([Channel("x", rng.normal(size=2000))])

    assert not ties.ranked.any()
    assert none.ranked[0][np.isfinite(none.layout.edges[0])].all()


@given(
    st.lists(
        st.floats(width=32) | st.sampled_from([0.0, 1.0, 1.5, np.nan]), min_size=1, max_size=200
    )
)
def test_any_column_gives_cells_that_hold_all_of_it(column: list[float]) -> None:
    reference = Reference.fit([Channel("x", np.array(column))])

    edges = reference.layout.edges[0]
    assert reference.n[0] == len(column)
    assert (np.diff(edges[np.isfinite(edges)]) > 0).all()


def test_a_constant_column_and_a_missing_one_are_columns_too() -> None:
    reference = Reference.fit(
        [Channel("constant", np.full(300, 7.0)), Channel("missing", np.full(300, np.nan))]
    )

    codes = reference.layout.codes(np.array([[6.9, 0.0], [7.0, np.nan], [7.1, 1e30]]))

    assert len(set(codes[:, 0])) == 3
    assert reference.counts[1, MISSING] == 300
    assert codes[0, 1] == codes[2, 1] != MISSING


def test_a_rebuilt_reference_counts_alike() -> None:
    rng = np.random.default_rng(3)
    reference = Reference.fit(
        [
            Channel("x", rng.normal(size=400)),
            Channel("kind", rng.integers(0, 50, 400).astype(float), "categorical"),
            Channel("p", rng.random(100), "p_value"),
        ]
    )

    twin = Reference.from_arrays(reference.to_arrays())

    rows = rng.normal(size=(100, 3))
    np.testing.assert_array_equal(twin.layout.codes(rows), reference.layout.codes(rows))
    assert twin.layout.names == reference.layout.names
    assert len(twin) == 3


def test_a_channel_without_values_is_refused() -> None:
    with pytest.raises(ValueError, match="no reference values of x"):
        Reference.fit([Channel("x", np.empty(0))])


def test_there_are_never_more_edges_than_cells_can_hold() -> None:
    many_atoms = np.repeat(np.arange(39.0), 30)

    edges = Reference.fit([Channel("x", many_atoms)]).layout.edges

    assert edges.shape == (1, EDGES)
