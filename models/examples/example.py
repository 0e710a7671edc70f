"""What an example gives to whoever serves, measures or shows it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.verdict import Rows
from models.bundle import Bundle

Labels = NDArray[np.int64]  # (n,), classes


@dataclass(frozen=True, slots=True)
class Split:
    """Rows and labels in three parts that share no row."""

    train: tuple[Rows, Labels]  # the model and the guards learn from these
    held_out: tuple[Rows, Labels]  # the guards' thresholds are set on these
    test: tuple[Rows, Labels]  # nobody has seen these


@dataclass(frozen=True, slots=True)
class Example:
    """Bundles of one model, in the order of their versions, and rows to ask them about."""

    bundles: tuple[Bundle, ...]
    input_name: str
    test_rows: Rows
    test_labels: Labels
    feature_names: tuple[str, ...]


def split(rows: NDArray[Any], labels: NDArray[Any], *, train: int, held_out: int) -> Split:
    """Shuffle with a fixed seed and cut: ``train`` rows, ``held_out`` rows, the rest to test."""
    order = np.random.default_rng(0).permutation(len(rows))
    rows = np.ascontiguousarray(rows[order], np.float32)
    labels = labels[order].astype(np.int64)
    cut = train + held_out
    return Split(
        (rows[:train], labels[:train]),
        (rows[train:cut], labels[train:cut]),
        (rows[cut:], labels[cut:]),
    )
