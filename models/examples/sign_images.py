"""Rendered road signs in clear weather, and what weather and stickers make of them.

Everything is drawn from signed distances on a grid of pixels, so that a sign can be small, turned
and off the middle, and its edges are smooth.  Images are float32 in [0, 1], shape (n, 3, 32, 32).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Images = NDArray[np.float32]  # (n, 3, SIDE, SIDE), in [0, 1]
Plane = NDArray[np.float64]  # (SIDE, SIDE)
Colour = tuple[float, float, float]

SIDE = 32
KINDS = ("stop", "yield", "no_entry", "speed_30", "speed_50", "priority", "ahead", "parking")

RED, WHITE, BLUE = (0.78, 0.08, 0.10), (0.95, 0.95, 0.95), (0.08, 0.25, 0.70)
YELLOW, BLACK = (0.96, 0.76, 0.08), (0.06, 0.06, 0.06)
SOFT = 0.05  # width of an edge, in units of the sign's radius

# Strokes of digits in a box of 2 x 4, as (left, bottom, right, top): seven segments.
_SEGMENTS = {
    "top": (0, 3.6, 2, 4), "upper_left": (0, 2, 0.4, 4), "upper_right": (1.6, 2, 2, 4),
    "middle": (0, 1.8, 2, 2.2), "lower_left": (0, 0, 0.4, 2), "lower_right": (1.6, 0, 2, 2),
    "bottom": (0, 0, 2, 0.4),
}  # fmt: skip
_DIGITS = {
    "0": ("top", "upper_left", "upper_right", "lower_left", "lower_right", "bottom"),
    "3": ("top", "upper_right", "middle", "lower_right", "bottom"),
    "5": ("top", "upper_left", "middle", "lower_right", "bottom"),
}


def draw_signs(n: int, rng: np.random.Generator) -> tuple[Images, NDArray[np.int64]]:
    """Draw signs of all kinds alike often in clear weather, and their kinds, shape (n,)."""
    kinds = rng.integers(0, len(KINDS), n)
    images = np.stack([_photograph(KINDS[kind], rng) for kind in kinds])
    return images.astype(np.float32), kinds.astype(np.int64)


def _photograph(kind: str, rng: np.random.Generator) -> Plane:
    """Put one sign in front of a street, with the light and the noise of a camera."""
    ground = gaussian_filter(rng.random((3, SIDE, SIDE)), (0, 3, 3))
    image = 0.25 + 0.45 * rng.random((3, 1, 1)) + 2.0 * (ground - 0.5)
    radius, turn = rng.uniform(9.5, 14.0), rng.normal(0.0, 0.08)
    middle = (SIDE - 1) / 2 + rng.uniform(-2.0, 2.0, 2)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    u, v = (x - middle[0]) / radius, (middle[1] - y) / radius
    _paint_sign(
        image, kind, u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
    )
    light = rng.uniform(0.75, 1.1)
    return np.clip(light * image + rng.normal(0.0, 0.015, image.shape), 0.0, 1.0)


def _paint_sign(image: Plane, kind: str, u: Plane, v: Plane) -> None:
    """Paint a sign in its own coordinates, its radius being 1 and ``v`` pointing up."""
    if kind == "stop":
        _paint(image, _polygon(u, v, sides=8, turn=np.pi / 8), WHITE)
        _paint(image, _polygon(u / 0.9, v / 0.9, sides=8, turn=np.pi / 8), RED)
        _paint(image, _box(u, v, -0.55, -0.16, 0.55, 0.16), WHITE)
        _paint(image, _box(np.abs(u) % 0.28, v, 0.10, -0.16, 0.16, 0.16), RED)
    elif kind == "yield":
        _paint(image, _polygon(u, v - 0.1, sides=3, turn=-np.pi / 2), RED)
        _paint(image, _polygon(u / 0.6, (v - 0.1) / 0.6, sides=3, turn=-np.pi / 2), WHITE)
    elif kind == "no_entry":
        _paint(image, np.hypot(u, v) - 1, RED)
        _paint(image, _box(u, v, -0.68, -0.17, 0.68, 0.17), WHITE)
    elif kind in ("speed_30", "speed_50"):
        _paint(image, np.hypot(u, v) - 1, RED)
        _paint(image, np.hypot(u, v) - 0.78, WHITE)
        _paint_number(image, kind.removeprefix("speed_"), u, v)
    elif kind == "priority":
        _paint(image, np.abs(u) + np.abs(v) - 1, WHITE)
        _paint(image, np.abs(u) + np.abs(v) - 0.78, YELLOW)
    elif kind == "ahead":
        _paint(image, np.hypot(u, v) - 1, BLUE)
        _paint(image, _box(u, v, -0.12, -0.65, 0.12, 0.3), WHITE)
        _paint(image, np.maximum(np.abs(u) + v - 0.75, 0.2 - v), WHITE)
    else:
        _paint(image, np.maximum(np.abs(u), np.abs(v)) - 0.85, BLUE)
        _paint(image, _box(u, v, -0.35, -0.6, -0.1, 0.6), WHITE)
        _paint(image, np.hypot(u + 0.05, v - 0.25) - 0.4, WHITE)
        _paint(image, np.hypot(u + 0.05, v - 0.25) - 0.17, BLUE)


def _paint_number(image: Plane, number: str, u: Plane, v: Plane) -> None:
    for left, digit in zip((-0.56, 0.08), number, strict=True):
        for segment in _DIGITS[digit]:
            box = np.array(_SEGMENTS[segment]) * 0.24
            _paint(image, _box(u - left, v + 0.48, *box), BLACK)


def _paint(image: Plane, distance: Plane, colour: Colour) -> None:
    """Cover what lies inside, where the distance is negative."""
    share = 1 / (1 + np.exp(np.clip(distance / SOFT, -50, 50)))
    image += share * (np.array(colour)[:, None, None] - image)


def _polygon(u: Plane, v: Plane, *, sides: int, turn: float) -> Plane:
    """Measure the distance to a regular polygon with corners on the unit circle."""
    angles = turn + np.pi / sides + 2 * np.pi / sides * np.arange(sides)
    inner = np.cos(np.pi / sides)
    return np.asarray(np.max([u * np.cos(a) + v * np.sin(a) - inner for a in angles], axis=0))


def _box(u: Plane, v: Plane, left: float, bottom: float, right: float, top: float) -> Plane:
    return np.asarray(np.max([left - u, u - right, bottom - v, v - top], axis=0))


def _fog(images: Images, rng: np.random.Generator, severity: float) -> Images:
    """Mix in grey light and lose detail."""
    density = severity * rng.uniform(0.75, 0.95, (len(images), 1, 1, 1))
    blurred = gaussian_filter(images, (0, 0, 0.8 * severity, 0.8 * severity))
    return np.asarray((1 - density) * blurred + density * 0.82)


def _snow(images: Images, rng: np.random.Generator, severity: float) -> Images:
    """Cover with flakes, which are white and of about a pixel or two."""
    flakes = rng.random((len(images), 1, SIDE, SIDE)) < 0.16 * severity
    cover = np.clip(2.2 * gaussian_filter(flakes.astype(float), (0, 0, 0.8, 0.8)), 0, 1)
    return np.asarray(images + cover * (0.97 - images))


def _night(images: Images, rng: np.random.Generator, severity: float) -> Images:
    """Take the light away; what is left is noise."""
    dim = 1 - severity * rng.uniform(0.86, 0.94, (len(images), 1, 1, 1))
    return np.asarray(images * dim + rng.normal(0.0, 0.05 * severity, images.shape))


def _glare(images: Images, rng: np.random.Generator, severity: float) -> Images:
    """Let a low sun shine into the lens."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    at = rng.uniform(8, SIDE - 8, (2, len(images), 1, 1))
    radius = max(10.0 * severity, 1e-3)
    spot = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * radius**2))
    return np.asarray(images + 1.3 * spot[:, None] * (1.05 - images))


def _stickers(images: Images, rng: np.random.Generator, severity: float) -> Images:
    """Stick rectangles on the sign, each of one colour."""
    spoilt = images.copy()
    for image in spoilt:
        for _ in range(1 + round(3 * severity)):
            height, width = rng.integers(4, 5 + round(7 * severity), 2)
            top, left = rng.integers(6, SIDE - 6 - np.array([height, width]))
            image[:, top : top + height, left : left + width] = rng.random((3, 1, 1))
    return spoilt


WEATHER: dict[str, Callable[[Images, np.random.Generator, float], Images]] = {
    "fog": _fog,
    "snow": _snow,
    "night": _night,
    "glare": _glare,
    "stickers": _stickers,
}


def spoil(images: Images, kind: str, rng: np.random.Generator, *, severity: float = 1.0) -> Images:
    """Turn clear images into an edge case of ``WEATHER``; ``severity`` in [0, 1]."""
    return np.clip(WEATHER[kind](images, rng, severity), 0.0, 1.0).astype(np.float32)
