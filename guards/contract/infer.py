"""Read a feature contract off reference rows, for people to review."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.columns import column_names
from guards.contract.feature import Feature, TextLimits
from guards.contract.text import repetition, scripts_of
from guards.verdict import Rows

TOP = float(np.finfo(np.float64).max)
KIND_ROWS = 100  # with fewer rows, numbers that are whole may be so by chance
SEEN_EACH = 10  # times each category was seen, on average, for a text to be taken for one
MOST_CATEGORIES = 100
LEAST_SCRIPT = 0.01  # of all letters; a script used less is not what the texts are written in


def infer_features(
    rows: Rows, names: Sequence[str] | None, *, margin: float = 0.5
) -> tuple[Feature, ...]:
    """Read the feature contract off reference rows, shape (n, d).

    One name per column gives one feature each, with its kind and its median as default; a single
    name (or none) gives one feature for the whole row, with the range of all its columns.

    Args:
        rows: NaN becomes ``missing=True``; infinities are ignored.
        names: Column names, one name for all, or None.
        margin: Share of the observed span added at each end.  A fresh value lies
            outside the range of n others with probability 2 / (n + 1): with 30
            columns and 284 rows of breast cancer measurements 8.6 % of ordinary
            rows would be flagged with no margin; 0.6 % are with a margin of 0.5.
            A column never seen negative is never widened below zero.

    Raises:
        ValueError: several names, but not one per column.
    """
    width = rows.shape[1]
    if names is None or (len(names) == 1 and width != 1):
        name = names[0] if names else "row"
        return (_several(name, rows, margin=margin),)
    return tuple(
        _single(name, rows[:, column], margin=margin)
        for column, name in enumerate(column_names(names, width))
    )


def infer_image(name: str, rows: Rows, *, margin: float = 0.5) -> Feature:
    """Read the contract of images off their pixels, shape (n, pixels): range and contrast.

    Half of the least contrast seen is asked for; where a reference image is constant, none.
    """
    described = _several(name, rows, margin=margin)
    spans = np.ptp(rows, axis=1)
    least = float(spans[np.isfinite(spans)].min(initial=np.inf))
    contrast = least / 2 if 0 < least < np.inf else None
    return described.model_copy(update={"kind": "image", "contrast": contrast})


def infer_text(name: str, values: NDArray[Any], *, margin: float = 0.5) -> Feature | None:
    """Read the contract of texts off reference values, (n, count) objects of bytes.

    Few different ones, seen often, are categories.  None if some are not UTF-8: then they are no
    texts, and nothing is promised about them.
    """
    count = values.reshape(len(values), -1).shape[1]
    try:
        texts = [value.decode() for value in values.ravel() if value]
    except UnicodeDecodeError:
        return None
    missing = len(texts) < values.size
    if not texts:
        return Feature(name=name, count=count, kind="text", missing=True)
    seen = Counter(texts)
    if len(seen) <= min(MOST_CATEGORIES, len(texts) / SEEN_EACH):
        usual = seen.most_common(1)[0][0]
        return Feature(
            name=name, count=count, categories=tuple(sorted(seen)), missing=missing, default=usual
        )
    limits = _text_limits(texts, margin)
    return Feature(name=name, count=count, kind="text", text=limits, missing=missing)


def _text_limits(texts: Sequence[str], margin: float) -> TextLimits:
    lengths = [len(text) for text in texts]
    slack = margin * (max(lengths) - min(lengths))
    letters = sum((scripts_of(text) for text in texts), Counter[str]())
    most = max(map(repetition, texts))
    return TextLimits(
        shortest=max(1, int(min(lengths) - slack)),
        longest=int(max(lengths) + slack + 1),
        scripts=tuple(
            script
            for script, count in letters.most_common()
            if count >= LEAST_SCRIPT * letters.total()
        )
        or None,
        # Halfway between the most repetitive text seen and one that is all repetition.
        repetition=most + (1 - most) * margin,
    )


def _single(name: str, values: NDArray[np.floating], *, margin: float) -> Feature:
    """Describe a column of its own: its kind too, where there are rows enough to tell."""
    missing = bool(np.isnan(values).any())
    seen = values[np.isfinite(values)]
    if not len(seen):
        return Feature(name=name, missing=missing)
    middle = float(np.quantile(seen, 0.5, method="closest_observation"))
    is_known = len(seen) >= KIND_ROWS
    if is_known and set(np.unique(seen).tolist()) == {0.0, 1.0}:
        return Feature(name=name, kind="boolean", missing=missing, default=middle)
    low, high = _range(seen, margin)
    is_whole = is_known and bool((seen == np.rint(seen)).all())
    kind = "integer" if is_whole else "number"
    return Feature(name=name, kind=kind, low=low, high=high, missing=missing, default=middle)


def _several(name: str, rows: Rows, *, margin: float) -> Feature:
    """Describe columns that are alike."""
    count, missing = rows.shape[1], bool(np.isnan(rows).any())
    seen = rows[np.isfinite(rows)]
    if not len(seen):
        return Feature(name=name, count=count, missing=missing)
    low, high = _range(seen, margin)
    return Feature(name=name, count=count, low=low, high=high, missing=missing)


def _range(seen: NDArray[np.floating], margin: float) -> tuple[float, float]:
    low, high = float(seen.min()), float(seen.max())
    slack = margin * (high - low)
    return max(-TOP if low < 0 else 0.0, low - slack), min(TOP, high + slack)
