"""From rows to the slices that they fall into, by a column's value."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.features import feature_rows
from models.manifest import Manifest
from models.runtime.protocol import Tensors
from models.slice_spec import SliceSpec

LONGEST_VALUE = 64  # characters of a text that names a slice

Texts = NDArray[np.str_]  # (n,)


def slice_values(manifest: Manifest, inputs: Tensors) -> dict[str, Texts]:
    """Name the slice of each of n rows, by what they are sliced by.

    Raises:
        ValueError: there is no such input of one value per row and no such feature of one column,
            or edges cut texts.
    """
    if not manifest.slices:
        return {}
    rows, columns = feature_rows(inputs, manifest.signature), _columns(manifest)
    found = {}
    for spec in manifest.slices:
        tensor = inputs.get(spec.by)
        if tensor is not None and tensor.size == len(tensor):
            column: NDArray[Any] = tensor.reshape(-1)
        elif spec.by in columns:
            column = rows[:, columns[spec.by]]
        else:
            raise ValueError(f"slices: {spec.by!r} is no input of one value, and no feature")
        found[spec.by] = _named(column, spec)
    return found


def _columns(manifest: Manifest) -> Mapping[str, int]:
    """Find the column of `feature_rows` of each feature that has one."""
    found, start = {}, 0
    for feature in manifest.guards.schema_.features:
        if feature.is_text:  # no column of numbers
            continue
        if feature.count == 1:
            found[feature.name] = start
        start += feature.count
    return found


def _named(column: NDArray[Any], spec: SliceSpec) -> Texts:
    if column.dtype == np.object_:
        if spec.edges:
            raise ValueError(f"slices: {spec.by!r} holds texts, and edges cut numbers")
        texts = [bytes(value).decode("utf-8", "replace")[:LONGEST_VALUE] for value in column]
        return np.array(texts, np.str_)
    numbers = column.astype(np.float64)
    if not spec.edges:
        return np.array([f"{value:g}" for value in numbers], np.str_)
    ends = ["-inf", *(f"{edge:g}" for edge in spec.edges), "inf"]
    names = np.array([f"[{low}, {high})" for low, high in pairwise(ends)])
    named = names[np.searchsorted(spec.edges, numbers, side="right")]
    return np.where(np.isnan(numbers), "missing", named)
