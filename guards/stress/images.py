"""What cameras, lenses, codecs and weather do to images, in three severities.

The kinds and the strengths of noise, contrast and compression are those of the benchmark that
image models are compared by; what has a size is a share of the image's side instead of pixels.

Source: Hendrycks and Dietterich (2019), "Benchmarking neural network robustness to common
corruptions and perturbations", ICLR: ImageNet-C, severities 1, 3 and 5.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from guards.stress.frame import Frame, Images
from guards.stress.probes import Probe
from guards.verdict import Rows

Corruption = Callable[[Images, np.random.Generator, int], Images]
"""Spoils each of n images, shape (n, c, h, w), values in [0, 1]; severity 0, 1 or 2."""

SEVERITIES = range(3)

NOISE = (0.08, 0.18, 0.38)  # standard deviation
PHOTONS = (60, 12, 3)  # per pixel at full brightness
DEAD_PIXELS = (0.03, 0.09, 0.27)  # share
BLUR = (0.02, 0.05, 0.1)  # standard deviation, share of the side
PANNED = (0.1, 0.2, 0.4)  # share of the side
BRIGHTER = (0.1, 0.3, 0.5)
CONTRAST = (0.4, 0.2, 0.05)  # what is left of it
QUALITY = (25, 15, 7)  # as JPEG counts it
SHIFTED = (0.1, 0.2, 0.35)  # share of the side
TURNED = (10, 25, 45)  # degrees
HIDDEN = (0.25, 0.4, 0.6)  # side of the square, share of the side
LEAST_BLUR = 0.5  # pixels; less is invisible

BLOCK = 8  # pixels that JPEG compresses together
# Luminance quantisation, ITU-T T.81 (1992), table K.1.
QUANTISATION = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float64,
)


def gaussian_noise(images: Images, rng: np.random.Generator, severity: int) -> Images:
    """Add noise of the sensor's electronics."""
    return np.clip(images + NOISE[severity] * rng.standard_normal(images.shape), 0, 1)


def shot_noise(images: Images, rng: np.random.Generator, severity: int) -> Images:
    """Count photons, too few of them."""
    return np.clip(rng.poisson(images * PHOTONS[severity]) / PHOTONS[severity], 0, 1)


def impulse_noise(images: Images, rng: np.random.Generator, severity: int) -> Images:
    """Turn some pixels black or white."""
    dead = rng.random(images.shape) < DEAD_PIXELS[severity]
    return np.where(dead, rng.integers(0, 2, images.shape), images)


def blur(images: Images, rng: np.random.Generator, severity: int) -> Images:
    """Lose the focus."""
    del rng
    sigma = max(LEAST_BLUR, BLUR[severity] * _side(images))
    return np.asarray(ndimage.gaussian_filter(images, (0, 0, sigma, sigma), mode="nearest"))


def motion_blur(images: Images, rng: np.random.Generator, severity: int) -> Images:
    """Move the camera while the shutter is open, along or across."""
    length = max(2, round(PANNED[severity] * _side(images)))
    along, across = (
        ndimage.uniform_filter1d(images, length, axis=axis, mode="nearest") for axis in (3, 2)
    )
    return np.where(_coins(len(images), rng), along, across)


def brightness(images: Images, rng: np.random.Generator, severity: int) -> Images:
    """Expose too long."""
    del rng
    return np.clip(images + BRIGHTER[severity], 0, 1)


def contrast(images: Images, rng: np.random.Generator, severity: int) -> Images:
    """Draw every pixel towards the mean of its image: fog."""
    del rng
    mean = images.mean(axis=(2, 3), keepdims=True)
    return np.asarray(mean + CONTRAST[severity] * (images - mean))


def jpeg(images: Images, rng: np.random.Generator, severity: int) -> Images:
    """Round the cosine coefficients of blocks, as JPEG does to each channel."""
    del rng
    n, c, h, w = images.shape
    padding = ((0, 0), (0, 0), (0, -h % BLOCK), (0, -w % BLOCK))
    padded = np.pad(images * 255 - 128, padding, mode="edge")
    high, wide = padded.shape[2] // BLOCK, padded.shape[3] // BLOCK
    blocks = padded.reshape(n, c, high, BLOCK, wide, BLOCK)
    quality = QUALITY[severity]  # below 50 the table grows as 50 / quality
    table = np.clip(np.rint(QUANTISATION * 50 / quality), 1, 255)[:, None, :]
    coefficients = np.rint(fft.dctn(blocks, axes=(3, 5), norm="ortho") / table) * table
    decoded = fft.idctn(coefficients, axes=(3, 5), norm="ortho").reshape(padded.shape)
    return np.clip((decoded[:, :, :h, :w] + 128) / 255, 0, 1)


def translate(images: Images, rng: np.random.Generator, severity: int) -> Images:
    """Move to one of the four sides; the edge is repeated where nothing comes after."""
    n, _, h, w = images.shape
    step = max(1, round(SHIFTED[severity] * _side(images)))
    sign, is_sideways = rng.choice((-step, step), n), rng.integers(0, 2, n).astype(bool)
    down = np.clip(np.arange(h) - np.where(is_sideways, 0, sign)[:, None], 0, h - 1)
    right = np.clip(np.arange(w) - np.where(is_sideways, sign, 0)[:, None], 0, w - 1)
    moved = np.take_along_axis(images, down[:, None, :, None], axis=2)
    return np.take_along_axis(moved, right[:, None, None, :], axis=3)


def rotate(images: Images, rng: np.random.Generator, severity: int) -> Images:
    """Turn, left or right; the edge is repeated where nothing comes after."""
    left, right = (
        ndimage.rotate(images, degrees, axes=(3, 2), reshape=False, order=1, mode="nearest")
        for degrees in (TURNED[severity], -TURNED[severity])
    )
    return np.where(_coins(len(images), rng), left, right)


def occlusion(images: Images, rng: np.random.Generator, severity: int) -> Images:
    """Cover a square at a random place with the grey in the middle: a sticker, a finger."""
    n, _, h, w = images.shape
    side = max(1, round(HIDDEN[severity] * _side(images)))
    top, left = rng.integers(0, h - side + 1, n)[:, None], rng.integers(0, w - side + 1, n)[:, None]
    high = (np.arange(h) >= top) & (np.arange(h) < top + side)
    wide = (np.arange(w) >= left) & (np.arange(w) < left + side)
    return np.where((high[:, :, None] & wide[:, None, :])[:, None], 0.5, images)


CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "blur": blur,
    "motion_blur": motion_blur,
    "brightness": brightness,
    "contrast": contrast,
    "jpeg": jpeg,
    "translate": translate,
    "rotate": rotate,
    "occlusion": occlusion,
}


def image_probes(frame: Frame, columns: slice) -> dict[str, Probe]:
    """Make a probe of every corruption in every severity, ``blur_1`` to ``blur_3``.

    Args:
        frame: How ``columns`` lie as an image.
        columns: Of a row; the others stay as they are.
    """
    return {
        f"{name}_{severity + 1}": _probe(corruption, severity, frame, columns=columns)
        for name, corruption in CORRUPTIONS.items()
        for severity in SEVERITIES
    }


def _probe(corruption: Corruption, severity: int, frame: Frame, *, columns: slice) -> Probe:
    def spoil(rows: Rows, rng: np.random.Generator) -> Rows:
        spoilt = rows.copy()
        if len(rows):
            images = frame.unfold(rows[:, columns])
            spoilt[:, columns] = frame.fold(corruption(images, rng, severity))
        return spoilt

    return spoil


def _side(images: Images) -> int:
    """Measure the shorter side in pixels."""
    return int(min(images.shape[2:]))


def _coins(n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Toss a coin per image, shape (n, 1, 1, 1)."""
    return rng.integers(0, 2, n).astype(bool)[:, None, None, None]
