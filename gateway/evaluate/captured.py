"""Captured requests as arrays: what was asked, what the model answered, and what is strange."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.evaluate.judged import strange_rows
from gateway.evaluate.payloads import array_of
from gateway.record.decision import JUDGED_ROWS_MAX, Decision, Payload
from models.held_out import known_features
from models.manifest import Manifest
from models.output_layout import class_reading
from models.slice_spec import PREDICTED
from models.slices import slice_values

Floats = NDArray[np.float64]
Key = tuple[str, int]  # prediction id and row


@dataclass(frozen=True, slots=True)
class Captured:
    """Rows that the model answered itself, n of them."""

    keys: tuple[Key, ...]
    arrived_ns: NDArray[np.int64]  # (n,), Unix
    predicted: Floats  # (n,), as labels are
    probabilities: Floats | None  # (n, classes); None where the model gives none
    features: Floats | None  # (n, d), finite; None where there are none, or too many
    strange: NDArray[np.bool_]  # (n,), that the outlier guard knows nothing like
    slices: Mapping[str, NDArray[np.str_]]  # (n,), by what they are sliced by

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: NDArray[Any]) -> "Captured":
        """Choose some rows, by place or by a mask."""
        places = np.arange(len(self))[rows]
        return Captured(
            tuple(self.keys[at] for at in places),
            self.arrived_ns[places],
            self.predicted[places],
            None if self.probabilities is None else self.probabilities[places],
            None if self.features is None else self.features[places],
            self.strange[places],
            {by: values[places] for by, values in self.slices.items()},
        )


def read_captured(decision: Decision, manifest: Manifest) -> Captured | None:
    """Read one request; None where its payload is not what the signature says, or redacted."""
    payload = decision.payload
    if payload is None or not decision.predicted:
        return None
    try:
        return _read(decision, payload, manifest)
    except (KeyError, ValueError):
        return None


def join_captured(parts: Sequence[Captured]) -> Captured:
    """Put requests of one version under one another."""
    return Captured(
        tuple(key for part in parts for key in part.keys),
        np.concatenate([part.arrived_ns for part in parts]),
        np.concatenate([part.predicted for part in parts]),
        _stacked([part.probabilities for part in parts]),
        _stacked([part.features for part in parts]),
        np.concatenate([part.strange for part in parts]),
        {by: np.concatenate([part.slices[by] for part in parts]) for by in parts[0].slices},
    )


def _stacked(parts: Sequence[Floats | None]) -> Floats | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def _read(decision: Decision, payload: Payload, manifest: Manifest) -> Captured:
    signature = manifest.signature
    inputs = {tensor.name: array_of(tensor) for tensor in payload.inputs}
    outputs = {tensor.name: array_of(tensor) for tensor in payload.outputs}
    n = min(len(decision.predicted), JUDGED_ROWS_MAX)
    predicted = np.array(decision.predicted[:n], np.float64)
    features = known_features(inputs, signature)
    slices = {by: values[:n] for by, values in slice_values(manifest, inputs).items()}
    reading = class_reading(signature.answer)
    probabilities = None
    if reading is not None:
        slices[PREDICTED] = np.array([f"{value:g}" for value in predicted], np.str_)
        answers = outputs[signature.answer.name].reshape(-1, signature.answer.row_width)
        probabilities = np.asarray(reading.probabilities(answers[:n]), np.float64)
        if not np.isfinite(probabilities).all():
            raise ValueError("the answer is not finite")
    return Captured(
        tuple((decision.prediction_id, row) for row in range(n)),
        np.full(n, decision.arrived_ns),
        predicted,
        probabilities,
        None if features is None else features[:n],
        np.isin(np.arange(n), list(strange_rows(decision.reasons))),
        slices,
    )
