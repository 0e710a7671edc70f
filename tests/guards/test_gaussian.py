"""Too much outside the main axes is strange, and so is too little."""

import numpy as np
import pytest
from numpy.typing import NDArray

from guards.outlier.gaussian import Gaussian
from guards.outlier.whitening import Basis


def near_a_plane(n: int, d: int, *, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    scales = np.where(np.arange(d) < 2, 3.0, 0.3)
    return np.asarray(rng.normal(size=(n, d)) * scales)


def built(d: int) -> tuple[Gaussian, Basis]:
    reference = near_a_plane(2000, d, seed=0)
    basis = Basis.fit(reference)
    return Gaussian.fit(basis.project(reference), reference, basis), basis


@pytest.mark.parametrize("d", [8, 200])
def test_the_residual_is_two_sided(d: int) -> None:
    gaussian, basis = built(d)
    ordinary = near_a_plane(500, d, seed=1)
    flat, thick = ordinary.copy(), ordinary.copy()
    flat[:, 2:] *= 0.01
    thick[:, 2:] *= 10

    usual = gaussian.measure(basis.project(ordinary), ordinary)[0]
    for strange in (flat, thick):
        residual = gaussian.measure(basis.project(strange), strange)[0]
        assert np.quantile(residual, 0.02) > np.quantile(usual, 0.95)


def test_the_distance_is_that_of_mahalanobis_along_the_main_axes() -> None:
    gaussian, basis = built(8)
    rows = near_a_plane(20, 8, seed=2)
    points = basis.project(rows)
    main = points[:, -2:]

    found = gaussian.measure(points, rows)[1]
    np.testing.assert_allclose(found, (main**2 / basis.variances[-2:]).sum(axis=1), rtol=1e-9)


def test_a_row_with_nothing_left_over_is_still_a_number() -> None:
    gaussian, basis = built(8)

    assert np.isfinite(gaussian.measure(basis.project(np.zeros((1, 8))), np.zeros((1, 8)))).all()
    single = np.random.default_rng(0).normal(size=(50, 1))
    basis = Basis.fit(single)
    one = Gaussian.fit(basis.project(single), single, basis)
    assert np.isfinite(one.measure(basis.project(single), single)).all()
