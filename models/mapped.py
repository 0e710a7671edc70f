"""The large arrays of the outlier guard: files of their own, mapped and not read.

Every replica on a node maps the same pages, so the reference is in memory once, however many
replicas and versions judge with it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAPPED = ("points", "search")  # of `Neighbours`; nothing else grows with the reference


def save_mapped(directory: Path, state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Write the large arrays of ``state`` as ``outlier-NAME.npy``, and return the others."""
    for name in MAPPED:
        if name in state:
            np.save(directory / _file(name), state[name], allow_pickle=False)
    return {name: array for name, array in state.items() if name not in MAPPED}


def map_arrays(directory: Path, verify: Callable[[str], object]) -> dict[str, NDArray[Any]]:
    """Map what `save_mapped` wrote, read-only.

    Args:
        directory: Of the bundle; nothing in it may change as long as the arrays are used.
        verify: Raises unless the file of this name is what was vouched for.

    Raises:
        ValueError: a file holds no plain array.
    """
    found = {}
    for name in MAPPED:
        verify(_file(name))
        mapped = np.load(directory / _file(name), mmap_mode="r", allow_pickle=False)
        found[name] = np.asarray(mapped)  # a view: numpy's own class for maps is slow to use
    return found


def _file(name: str) -> str:
    return f"outlier-{name}.npy"
