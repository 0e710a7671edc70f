"""What a column is measured by."""

import numpy as np

from guards.outlier.tails import ONE_UNIT, RANGE_SIGMAS, Scales

RNG = np.random.default_rng(0)
PIXELS = RNG.uniform(0, 16, (500, 6)) * (RNG.uniform(size=(500, 6)) < [0.9, 0.9, 0.9, 0.9, 0.01, 0])


def test_the_pixels_of_an_image_share_one_spread() -> None:
    own, shared = Scales.fit(PIXELS), Scales.fit(PIXELS, (slice(0, 6),))

    np.testing.assert_array_equal(shared.centre, own.centre)
    np.testing.assert_allclose(shared.spread, np.sqrt(PIXELS.var(axis=0).mean()))
    assert own.spread[4] < own.spread[0]


def test_a_pixel_that_was_never_lit_reaches_as_far_as_the_others() -> None:
    scales = Scales.fit(PIXELS, (slice(0, 6),))

    assert (scales.reach == scales.reach[0]).all()
    assert Scales.fit(PIXELS).reach[5] == RANGE_SIGMAS


def test_columns_beside_a_tensor_keep_their_own_spread() -> None:
    rows = np.hstack([1000 * RNG.normal(size=(500, 1)), PIXELS])
    own, shared = Scales.fit(rows), Scales.fit(rows, (slice(0, 1), slice(1, 7)))

    np.testing.assert_array_equal(shared.spread[1:], Scales.fit(PIXELS, (slice(0, 6),)).spread)
    np.testing.assert_allclose(shared.spread[0], own.spread[0], rtol=0.2)


def test_columns_in_unlike_units_keep_their_own_spread() -> None:
    rows = PIXELS.copy()
    rows[:, 0] *= 2 * ONE_UNIT

    np.testing.assert_array_equal(Scales.fit(rows, (slice(0, 6),)).spread, Scales.fit(rows).spread)


def test_a_tensor_that_never_moved_still_has_a_spread() -> None:
    scales = Scales.fit(np.full((50, 4), 0.1), (slice(0, 4),))

    assert (scales.spread > 0).all()
    assert (scales.reach == RANGE_SIGMAS).all()
