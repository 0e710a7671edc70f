"""What is known of held-out rows: what label-free estimates of quality start from.

Of the rows that nothing was fitted on, as on its own training rows a model is right more often
and surer than it ever will be again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.quality.unlabelled.source import Labelled
from models.features import feature_rows
from models.manifest import Signature
from models.output_layout import class_reading
from models.prediction import answers_classes, predicted
from models.runtime.protocol import Tensors

MOST_ROWS = 4096  # more no longer make an estimate surer than the traffic it is about
WIDEST_FEATURES = 64  # columns up to which a density ratio, or a loss, is fitted on features

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out rows with labels: of a classifier, or of a model that answers numbers."""

    classes: Labelled | None = None
    features: Floats | None = None  # (n, d), with the answer itself, where answers are numbers
    errors: Floats | None = None  # (n,), absolute

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give up everything, as arrays that need no pickle."""
        if self.classes is not None:
            arrays = {"probabilities": self.classes.probabilities, "labels": self.classes.labels}
            known = self.classes.features
            return arrays if known is None else {**arrays, "features": known}
        assert self.features is not None
        assert self.errors is not None
        return {"features": self.features, "errors": self.errors}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "HeldOut":
        """Rebuild what gave ``arrays``.

        Raises:
            KeyError: some are missing.
            ValueError: they are not of as many rows.
        """
        if len({len(array) for array in arrays.values()}) != 1:
            raise ValueError("not one row of each")
        if "errors" in arrays:
            return cls(features=arrays["features"], errors=arrays["errors"])
        known = Labelled(arrays["probabilities"], arrays["labels"], arrays.get("features"))
        return cls(classes=known)


def keep_held_out(
    signature: Signature,
    inputs: Tensors,
    outputs: Tensors,
    labels: NDArray[Any],
    *,
    rng: np.random.Generator,
) -> HeldOut | None:
    """Take what estimates need of n held-out rows; None where the model's answers give none.

    Args:
        signature: Of the model.
        inputs: Raw rows.
        outputs: What the model answers to them.
        labels: Shape (n,), what is true of them.
        rng: Chooses the rows that are kept.
    """
    kept = np.sort(rng.choice(len(labels), min(MOST_ROWS, len(labels)), replace=False))
    features, answer = known_features(inputs, signature), signature.answer
    features = None if features is None else features[kept]
    reading = class_reading(answer)
    if reading is not None:
        answers = outputs[answer.name].reshape(-1, answer.row_width)[kept]
        classes = np.asarray(reading.probabilities(answers), np.float64)
        fits = is_class(labels[kept].astype(np.float64), reading.classes)
        known = Labelled(classes[fits], labels[kept][fits].astype(np.int64))
        if features is not None:
            known = Labelled(known.probabilities, known.labels, features[fits])
        return HeldOut(classes=known)
    if answers_classes(signature) or answer.row_width != 1 or features is None:
        return None
    values = predicted(outputs, signature)[kept]
    errors = np.abs(values - labels[kept].astype(np.float64))
    finite = np.isfinite(errors)
    return HeldOut(features=np.column_stack([features, values])[finite], errors=errors[finite])


def known_features(inputs: Tensors, signature: Signature) -> Floats | None:
    """Lay out the features of all rows, what is missing as 0; None: too many, or not all there."""
    if not 0 < signature.feature_width <= WIDEST_FEATURES:
        return None
    if any(spec.name not in inputs for spec in signature.numeric_inputs):
        return None
    rows = feature_rows(inputs, signature).astype(np.float64)
    return np.nan_to_num(rows, nan=0.0, posinf=0.0, neginf=0.0)


def is_class(labels: Floats, classes: int) -> NDArray[np.bool_]:
    """Tell which labels, (n,), are the index of a class."""
    return np.asarray((labels == np.rint(labels)) & (labels >= 0) & (labels < classes))
