"""Scores of unlike units become one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.outlier.mixture import Mixture

ORDINARY = np.abs(np.random.default_rng(0).normal(size=(3, 500)))


@given(unit=st.floats(1e-6, 1e6), zero=st.floats(-1e3, 1e3))
def test_the_unit_of_a_component_does_not_matter(unit: float, zero: float) -> None:
    scaled = ORDINARY * unit + zero * unit
    fresh = np.linspace(0, 9, 30).reshape(3, 10)

    here = Mixture.fit(ORDINARY).score(fresh)
    there = Mixture.fit(scaled).score(fresh * unit + zero * unit)

    np.testing.assert_allclose(there, here, rtol=1e-6)


def test_one_component_that_sees_is_not_outvoted() -> None:
    mixture = Mixture.fit(ORDINARY)
    ordinary = mixture.score(ORDINARY)
    seen_by_one = np.median(ORDINARY, axis=1, keepdims=True)
    seen_by_one[1] = 30

    assert (mixture.score(seen_by_one) > ordinary).all()


@given(component=st.integers(0, 2), step=st.floats(0.01, 1e6))
def test_a_stranger_component_makes_a_stranger_row(component: int, step: float) -> None:
    mixture = Mixture.fit(ORDINARY)
    before = np.ones((3, 1))
    after = before.copy()
    after[component] += step

    assert mixture.score(after) > mixture.score(before)


def test_what_varies_by_rounding_alone_is_no_tail() -> None:
    """Rows among duplicates exceed their neighbours by 0, give or take the last bit."""
    component = np.zeros((1, 100))
    component[0, :20] = 1e-16
    component[0, 0] = 3

    assert Mixture.fit(component).score(np.full((1, 1), 1e-15))[0] == pytest.approx(0, abs=1e-9)


def test_a_component_that_never_varies_still_has_a_scale() -> None:
    flat = Mixture.fit(np.zeros((3, 100)))

    assert np.isfinite(flat.score(np.full((3, 1), 1e150))).all()
    assert flat.score(np.ones((3, 1))) > flat.score(np.zeros((3, 1)))
