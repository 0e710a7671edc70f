"""Rare values add up; what the reference never held is the rarest."""

import numpy as np
import pytest
from numpy.typing import NDArray

from guards.outlier.rarity import Rarity


def whole(rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.zeros(rows.shape, np.bool_)


def fitted(rows: NDArray[np.float64]) -> Rarity:
    return Rarity.fit(rows, whole(rows))


def test_the_rarity_of_a_value_is_its_two_sided_tail() -> None:
    reference = np.random.default_rng(0).normal(size=(4000, 1))
    rarity = fitted(reference)
    values = np.array([[-2.5], [-1.5], [0.8], [2.0]])

    below = (values >= reference.T).sum(axis=1)
    tails = 2 * np.minimum(below, 4000 - below) / 4001
    np.testing.assert_allclose(rarity.measure(values, None), -np.log(tails), atol=0.25)


def test_rarities_of_columns_add_up() -> None:
    rng = np.random.default_rng(0)
    reference, fresh = rng.normal(size=(500, 3)), rng.normal(size=(20, 3))
    apart = sum(fitted(reference[:, [at]]).measure(fresh[:, [at]], None) for at in range(3))

    np.testing.assert_allclose(fitted(reference).measure(fresh, None), apart, rtol=1e-5)


def test_an_unseen_category_is_rarer_than_any_seen_one() -> None:
    reference = np.random.default_rng(0).choice([-1.0, 0.0, 2.0], (900, 1), p=[0.01, 0.5, 0.49])
    seen = fitted(reference).measure(np.array([[-1.0], [0.0], [2.0]]), None)
    unseen = fitted(reference).measure(np.array([[1.0], [5.0]]), None)

    assert seen[0] > seen[1]
    assert seen.max() < unseen.min()


def test_a_value_in_the_middle_of_nowhere_is_as_rare_as_one_beyond_the_ends() -> None:
    """Between two categories there is no tail to lie in."""
    reference = np.repeat([[0.0], [4.0]], 200, axis=0)
    inside, outside = fitted(reference).measure(np.array([[2.0], [9.0]]), None)

    assert inside == outside


def test_a_missing_value_is_as_rare_as_it_was() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(999, 2))
    absent = np.zeros((999, 2), np.bool_)
    absent[:500, 0] = absent[:5, 1] = True
    rarity = Rarity.fit(np.where(absent, 0, reference), absent)

    often, seldom = rarity.measure(np.zeros((2, 2)), np.eye(2, dtype=np.bool_))
    assert often == pytest.approx(-np.log(500.5 / 1000), abs=0.2)
    assert seldom == pytest.approx(-np.log(5.5 / 1000), abs=0.2)


@pytest.mark.parametrize("value", [-50.0, 50.0])
def test_the_ends_of_the_reach_have_a_place_in_the_table(value: float) -> None:
    narrow = np.random.default_rng(0).normal(scale=1e-6, size=(300, 4))
    rarity = fitted(narrow)
    far = rarity.measure(np.full((1, 4), value), None)

    assert far == pytest.approx(rarity.measure(np.full((1, 4), value / 10), None))
    assert far >= rarity.measure(narrow, None).max()
