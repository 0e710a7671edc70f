"""Corrupted images are images still, worse with every severity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.stress.frame import Frame, is_image
from guards.stress.images import CORRUPTIONS, SEVERITIES, image_probes
from guards.verdict import Rows

SIDE = 16


def pictures(n: int, *, channels: int = 1, side: int = SIDE, seed: int = 0) -> np.ndarray:
    """A bright disc somewhere on a darker slope, with some grain; (n, channels, side, side)."""
    rng = np.random.default_rng(seed)
    high, wide = np.mgrid[:side, :side] / side
    centres = rng.uniform(0.3, 0.7, (n, 2, 1, 1))
    disc = (high - centres[:, 0]) ** 2 + (wide - centres[:, 1]) ** 2 < 0.05
    images = 0.1 + 0.3 * high + 0.4 * disc + 0.02 * rng.random((n, side, side))
    return np.repeat(images[:, None], channels, axis=1)


@pytest.mark.parametrize("name", CORRUPTIONS)
@given(
    n=st.integers(1, 4),
    channels=st.sampled_from([1, 3]),
    side=st.integers(8, 20),
    severity=st.sampled_from(SEVERITIES),
    seed=st.integers(0, 999),
)
def test_a_corruption_gives_images_of_the_same_shape_and_range(
    name: str, n: int, channels: int, side: int, severity: int, seed: int
) -> None:
    images = pictures(n, channels=channels, side=side, seed=seed)
    before = images.copy()
    once, twice = (
        CORRUPTIONS[name](images, np.random.default_rng(seed), severity) for _ in range(2)
    )

    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(once, twice)
    assert once.shape == images.shape
    assert once.min() >= -1e-12
    assert once.max() <= 1 + 1e-12


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_image_changes_and_more_with_severity(name: str) -> None:
    images = pictures(40)
    spoilt = [CORRUPTIONS[name](images, np.random.default_rng(1), s) for s in SEVERITIES]
    changed = [np.abs(images - found).mean(axis=(1, 2, 3)) for found in spoilt]

    assert all((change > 0).all() for change in changed)
    means = [float(change.mean()) for change in changed]
    assert means == sorted(means)


def test_translation_moves_the_picture_whole() -> None:
    images = np.zeros((50, 1, 10, 10))
    images[:, :, 4:6, 4:6] = 1
    moved = CORRUPTIONS["translate"](images, np.random.default_rng(0), 1)  # by 2 of 10

    places = {tuple(np.argwhere(image[0])[0]) for image in moved}
    assert (moved.sum(axis=(1, 2, 3)) == 4).all()
    assert places == {(2, 4), (6, 4), (4, 2), (4, 6)}


def test_occlusion_hides_a_square() -> None:
    hidden = CORRUPTIONS["occlusion"](np.zeros((30, 3, 20, 20)), np.random.default_rng(0), 1)

    assert (hidden.sum(axis=(1, 2, 3)) == 3 * 8 * 8 * 0.5).all()


def test_a_better_codec_would_change_less() -> None:
    """At a fine table only rounding is left: the blocks go through the transform and back."""
    images = pictures(3, channels=3, side=20)
    coarse = CORRUPTIONS["jpeg"](images, np.random.default_rng(0), 2)

    assert np.abs(coarse - images).max() < 0.5
    assert np.abs(coarse - images).mean() < 0.05


@pytest.mark.parametrize("shape", [(8, 9), (3, 8, 9), (8, 9, 3), (1, 8, 8)])
@pytest.mark.parametrize("whole", [True, False])
def test_a_row_unfolds_to_an_image_and_back(shape: tuple[int, ...], whole: bool) -> None:
    rng = np.random.default_rng(0)
    pixels = int(np.prod(shape))
    rows: Rows = rng.integers(0, 256, (5, pixels)).astype(np.float32)
    if not whole:
        rows = (rows / 255).astype(np.float32)
    frame = Frame.of(shape, rows)

    assert frame is not None
    assert frame.whole is whole
    assert frame.unfold(rows).shape[2:] == (8, 8 if shape == (1, 8, 8) else 9)
    np.testing.assert_allclose(frame.fold(frame.unfold(rows)), rows, atol=1e-5)


@pytest.mark.parametrize("shape", [(64,), (7, 9), (16, 8, 9), (8, 9, 5), (1, 2, 8, 8)])
def test_other_rows_are_no_images(shape: tuple[int, ...]) -> None:
    assert not is_image(shape)
    assert Frame.of(shape, np.random.default_rng(0).random((2, int(np.prod(shape))))) is None


def test_images_that_are_all_alike_have_no_range_to_corrupt_in() -> None:
    assert Frame.of((8, 8), np.ones((5, 64))) is None


def test_an_image_probe_leaves_the_other_columns_as_they_are() -> None:
    rows = np.random.default_rng(0).random((10, 3 + 64)).astype(np.float32)
    frame = Frame.of((8, 8), rows[:, 3:])
    assert frame is not None
    probes = image_probes(frame, slice(3, 67))

    assert len(probes) == len(CORRUPTIONS) * len(SEVERITIES)
    for probe in probes.values():
        spoilt = probe(rows, np.random.default_rng(1))
        assert (spoilt.shape, spoilt.dtype) == (rows.shape, rows.dtype)
        np.testing.assert_array_equal(spoilt[:, :3], rows[:, :3])
        # 3 % of dead pixels spare one image of 64 in seven.
        assert (spoilt[:, 3:] != rows[:, 3:]).any(axis=1).mean() >= 0.5
        assert probe(rows[:0], np.random.default_rng(1)).shape == (0, 67)


def test_whole_pixels_stay_whole() -> None:
    rows = np.random.default_rng(0).integers(0, 17, (10, 64)).astype(np.float32)
    frame = Frame.of((8, 8), rows)
    assert frame is not None
    for probe in image_probes(frame, slice(0, 64)).values():
        spoilt = probe(rows, np.random.default_rng(1))

        np.testing.assert_array_equal(spoilt, np.rint(spoilt))
        assert spoilt.min() >= 0
        assert spoilt.max() <= 16
