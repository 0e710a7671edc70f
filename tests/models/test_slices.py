"""From columns to slices."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models.manifest import Manifest
from models.slices import slice_values


def manifest(*slices: dict[str, Any], **changes: Any) -> Manifest:
    return Manifest.model_validate(
        {
            "name": "shop",
            "version": "1",
            "runtime": {"kind": "constant", "outputs": {"y": [0.5, 0.5]}},
            "signature": {
                "inputs": [
                    {"name": "numbers", "datatype": "FP32", "shape": [-1, 2]},
                    {"name": "region", "datatype": "BYTES", "shape": [-1, 1]},
                    {"name": "hour", "datatype": "INT64", "shape": [-1, 1], "role": "context"},
                ],
                "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
            },
            "guards": {"schema": {"features": [{"name": "age"}, {"name": "income"}]}},
            "slices": slices,
            **changes,
        }
    )


INPUTS = {
    "numbers": np.array([[30, 1], [50, 2], [np.nan, 3]], np.float32),
    "region": np.array([[b"north"], [b"s\xc3\xbcd"], [b"\xff"]], np.object_),
    "hour": np.array([[7], [7], [23]]),
}


def test_rows_are_sliced_by_inputs_texts_and_features() -> None:
    found = slice_values(
        manifest({"by": "region"}, {"by": "hour"}, {"by": "age", "edges": [30, 50]}), INPUTS
    )

    assert found["region"].tolist() == ["north", "süd", "\ufffd"]
    assert found["hour"].tolist() == ["7", "7", "23"]
    assert found["age"].tolist() == ["[30, 50)", "[50, inf)", "missing"]


def test_a_manifest_without_slices_cuts_nothing() -> None:
    assert slice_values(manifest(), INPUTS) == {}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"by": "height"}, "no input of one value"),
        ({"by": "numbers"}, "no input of one value"),
        ({"by": "region", "edges": [1]}, "edges cut numbers"),
    ],
)
def test_what_cannot_be_sliced_by_is_named(spec: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        slice_values(manifest(spec), INPUTS)


@pytest.mark.parametrize(
    ("slices", "changes", "says"),
    [
        ([{"by": "age", "edges": [2, 1]}], {}, "must rise"),
        ([{"by": "predicted"}], {}, "already"),
        ([{"by": "hour"}, {"by": "hour"}], {}, "another column"),
        ([{"by": "region"}], {"capture": {"redact": ["region"]}}, "redacted"),
    ],
)
def test_a_manifest_with_slices_that_make_no_sense_is_refused(
    slices: list[dict[str, Any]], changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValidationError, match=says):
        manifest(*slices, **changes)
