"""The fast search finds what the slow one finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from guards.outlier.neighbours import Neighbours, _smallest
from guards.outlier.tails import FAR_SIGMAS
from guards.outlier.whitening import MAX_AXES, Basis
from guards.verdict import Rows


def built(n: int, d: int, *, seed: int = 0) -> tuple[Neighbours, Basis, Rows]:
    rng = np.random.default_rng(seed)
    standard = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / np.sqrt(d)
    basis = Basis.fit(standard)
    return Neighbours.build(basis.project(standard), basis, k=5), basis, standard


@given(
    rows=st.integers(1, 12),
    width=st.integers(1, 700),
    count=st.integers(1, 12),
    levels=st.integers(1, 1000),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_smallest_values_are_found_whatever_the_ties(
    rows: int, width: int, count: int, levels: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(levels, size=(rows, max(width, count))).astype(np.float32)

    found = np.take_along_axis(values, _smallest(values, count), axis=1)

    np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(values, axis=1)[:, :count])


@settings(max_examples=30)
@given(n=st.integers(9, 400), d=st.integers(1, 40), seed=st.integers(0, 1000))
def test_distances_are_those_of_a_search_through_all_pairs(n: int, d: int, seed: int) -> None:
    index, basis, _ = built(n, d, seed=seed)
    points = 3 * np.random.default_rng(seed + 1).normal(size=(7, d))

    for space, weights in enumerate((np.ones(d), 1 / basis.variances)):
        scale = np.sqrt(weights)
        pairs = cdist(points * scale, index.points * scale, "sqeuclidean")
        nearest = np.sort(pairs, axis=1)[:, :5].mean(axis=1)
        np.testing.assert_allclose(index.distances(points)[space], nearest, rtol=1e-9)


def test_the_reference_is_measured_without_itself() -> None:
    index, _, _ = built(100, 4)
    pairs = cdist(index.points, index.points, "sqeuclidean")
    np.fill_diagonal(pairs, np.inf)

    expected = np.sort(pairs, axis=1)[:, :5].mean(axis=1)
    np.testing.assert_allclose(index.distances_between()[0], expected, rtol=1e-9)


def test_a_copy_of_many_reference_rows_lies_at_distance_zero_exactly() -> None:
    row = np.random.default_rng(0).normal(size=(1, 6)).astype(np.float32).astype(np.float64)
    others = np.random.default_rng(1).normal(size=(50, 6))
    basis = Basis.fit(others)
    index = Neighbours.build(np.vstack([np.repeat(row, 5, axis=0), others]), basis, k=5)

    np.testing.assert_array_equal(index.distances(row), 0)


def test_rows_at_the_edge_of_reach_are_measured_exactly() -> None:
    index, _, _ = built(500, 30)
    far = np.full((1, 30), FAR_SIGMAS)
    pairs = cdist(far, index.points, "sqeuclidean")

    expected = np.sort(pairs, axis=1)[:, :5].mean()
    assert index.distances(far)[0, 0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "d"), [(50, 4), (50, 200), (5, 300), (400, 30)])
def test_every_direction_keeps_a_positive_variance(n: int, d: int) -> None:
    _, basis, _ = built(n, d)

    assert basis.axes.shape == (d, min(d, MAX_AXES))
    assert (basis.variances > 0).all()
    assert basis.rest > 0
    np.testing.assert_allclose(basis.axes.T @ basis.axes, np.eye(min(d, MAX_AXES)), atol=1e-9)


def test_shrinkage_leaves_a_well_known_covariance_nearly_alone() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([0.25, 1.0, 4.0])
    basis = Basis.fit(rng.normal(size=(100_000, 3)) * np.sqrt(truth))

    np.testing.assert_allclose(basis.variances, truth, rtol=0.08)


def test_shrinkage_replaces_a_covariance_that_a_few_rows_cannot_tell() -> None:
    basis = Basis.fit(np.random.default_rng(0).normal(size=(20, 100)))

    # The sample covariance has 80 zero eigenvalues and others near 10; the truth is 1.
    assert basis.variances.min() > 0.5
    assert basis.variances.max() < 3
