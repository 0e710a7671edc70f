"""The fast search finds what the slow one finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from guards.outlier.neighbours import SOFTENING, SOLITUDE, Neighbours, smallest
from guards.outlier.tails import FAR_SIGMAS
from guards.outlier.whitening import MAX_AXES, Basis


def correlated(n: int, d: int, *, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / np.sqrt(d))


def built(n: int, d: int, *, seed: int = 0) -> tuple[Neighbours, Basis]:
    rows = correlated(n, d, seed=seed)
    basis = Basis.fit(rows)
    return Neighbours.fit(basis.project(rows), basis, k=5), basis


def slow_measures(
    index: Neighbours, points: NDArray[np.float64], basis: Basis
) -> NDArray[np.float64]:
    """Search through all pairs: (4, n), excess and ratio, each plain and whitened."""
    between = weighted(index.points, index.points, basis.variances**-0.5)
    np.fill_diagonal(between, np.inf)
    own = np.argsort(between, axis=1)[:, :5]
    spacing = np.take_along_axis(between, own, axis=1).mean(axis=1)
    pairs = weighted(points, index.points, basis.variances**-0.5)
    nearest = np.argsort(pairs + SOLITUDE * spacing, axis=1)[:, :5]
    excess, ratio = [], []
    for weights in (np.ones_like(basis.variances), 1 / basis.variances):
        usual = weighted(index.points, index.points, weights)
        usual = np.take_along_axis(usual, own, axis=1).mean(axis=1)
        away = np.take_along_axis(weighted(points, index.points, weights), nearest, axis=1)
        away, near = away.mean(axis=1), usual[nearest].mean(axis=1)
        excess.append(away - near)
        soft = SOFTENING * usual.mean()
        ratio.append((away + soft) / (near + soft))
    return np.array(excess + ratio)


def weighted(
    one: NDArray[np.floating], other: NDArray[np.floating], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.asarray(cdist(one * np.sqrt(weights), other * np.sqrt(weights), "sqeuclidean"))


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

    found = np.take_along_axis(values, smallest(values, count), axis=1)

    np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(values, axis=1)[:, :count])


@settings(max_examples=30)
@given(n=st.integers(9, 400), d=st.integers(1, 40), seed=st.integers(0, 1000))
def test_the_measures_are_those_of_a_search_through_all_pairs(n: int, d: int, seed: int) -> None:
    index, basis = built(n, d, seed=seed)
    points = 3 * np.random.default_rng(seed + 1).normal(size=(7, d))

    expected = slow_measures(index, points, basis)
    np.testing.assert_allclose(index.measure(points), expected, rtol=1e-9, atol=1e-9)


def test_the_reference_is_measured_without_itself() -> None:
    index, basis = built(100, 4)
    others = [np.delete(np.arange(100), row) for row in range(100)]
    expected = [
        Neighbours.build(index.points[kept], basis, spacing=index.spacing[kept], k=5).measure(
            index.points[row : row + 1].astype(np.float64)
        )[:2, 0]
        for row, kept in enumerate(others)
    ]

    np.testing.assert_allclose(index.measure_between()[:2], np.transpose(expected), rtol=1e-9)


def test_a_row_beside_a_dense_group_exceeds_rows_of_a_loose_one() -> None:
    """It is nearer to its neighbours than they are to theirs, but unusual where it stands."""
    rng = np.random.default_rng(0)
    dense, loose = 0.1 * rng.normal(size=(300, 3)), 50 + 2 * rng.normal(size=(300, 3))
    basis = Basis.fit(np.vstack([dense, loose]))
    index = Neighbours.fit(basis.project(np.vstack([dense, loose])), basis, k=5)
    beside = basis.project(np.array([[0.9, 0.0, 0.0]]))

    assert np.median(index.spacing[300:, 1]) > 0.5  # the loose rows lie further from others
    assert index.measure(beside)[0, 0] > 3 * np.median(index.measure_between()[0, 300:])


def test_neighbours_at_one_distance_are_the_same_in_a_batch_of_any_size() -> None:
    """Integers leave many rows at one distance; float32 alone would choose at random."""
    rng = np.random.default_rng(0)
    lattice = rng.integers(0, 5, (2500, 8)).astype(np.float64)
    basis = Basis.fit(lattice)
    points = basis.project(lattice)
    index = Neighbours.fit(points[:2000], basis, k=5)
    together = index.measure(points[2000:])

    for size in (1, 2, 7):
        parts = [index.measure(points[at : at + size]) for at in range(2000, 2500, size)]
        np.testing.assert_allclose(np.hstack(parts), together, atol=1e-5)


def test_a_copy_of_many_reference_rows_exceeds_them_by_zero_exactly() -> None:
    row = np.random.default_rng(0).normal(size=(1, 6)).astype(np.float32).astype(np.float64)
    others = np.random.default_rng(1).normal(size=(50, 6))
    basis = Basis.fit(others)
    index = Neighbours.fit(np.vstack([np.repeat(row, 6, axis=0), others]), basis, k=5)

    np.testing.assert_array_equal(index.measure(row), [[0], [0], [1], [1]])


def test_rows_at_the_edge_of_reach_are_measured_exactly() -> None:
    index, basis = built(500, 30)
    far = np.full((1, 30), FAR_SIGMAS)

    np.testing.assert_allclose(index.measure(far), slow_measures(index, far, basis), rtol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(50, 4), (50, 200), (5, 300), (400, 30)])
def test_every_direction_keeps_a_positive_variance(n: int, d: int) -> None:
    basis = Basis.fit(correlated(n, d))

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
