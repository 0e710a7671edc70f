"""Fit the outlier guard of a model: on what goes in, or on what comes out."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from guards.outlier.choice import SEED, TELLING, Spoil
from guards.outlier.guard import OutlierGuard, OutlierSettings
from guards.stress.images import image_probes
from guards.stress.probes import PROBES, Probe
from guards.verdict import Rows
from models.features import feature_names, feature_rows, feature_tensors, tensor_columns
from models.frames import image_inputs
from models.manifest import Signature
from models.output_rows import (
    TELLING_ROLES,
    answer_columns,
    output_names,
    output_rows,
    telling_outputs,
)
from models.runtime.protocol import Tensors

Predict = Callable[[Tensors], Tensors]

TELLING_SEVERITY = "_2"  # of images: of three the middle one


def reads_outputs(settings: OutlierSettings, signature: Signature) -> bool:
    """Whether the guard judges what the model answered.

    Left to itself it does where the model names logits or an embedding: there a model tells
    apart what it knows from what it does not, better than its inputs do.

    Raises:
        ValueError: it is to judge outputs, and none of them tells anything.
    """
    chosen = telling_outputs(signature)
    if settings.reads == "outputs" and not chosen:
        raise ValueError("guards.outlier reads outputs: name logits, probabilities or an embedding")
    if settings.reads == "auto":
        return any(spec.role in TELLING_ROLES for spec in chosen)
    return settings.reads == "outputs"


def fit_outlier(
    settings: OutlierSettings,
    signature: Signature,
    reference: Tensors,
    held_out: Tensors,
    *,
    predict: Predict,
    names: Sequence[str],
) -> OutlierGuard:
    """Fit and calibrate the guard.

    Args:
        settings: Of the guard.
        signature: Of the model.
        reference: Raw inputs to learn from.
        held_out: Raw inputs that set the threshold.
        predict: Asks the model, for a guard that judges its outputs.
        names: Of the feature columns, if they have any.
    """
    if not reads_outputs(settings, signature):
        return OutlierGuard.fit(
            feature_rows(reference, signature),
            feature_rows(held_out, signature),
            settings,
            feature_names=feature_names(signature, names),
            tensors=() if names else tensor_columns(signature),
        )
    return OutlierGuard.fit(
        output_rows(predict(reference), signature),
        output_rows(predict(held_out), signature),
        settings,
        feature_names=output_names(signature),
        reads="outputs",
        answer=answer_columns(signature),
        spoil=_spoil_inputs(reference, signature, predict),
    )


def outputs_of(rows: Rows, like: Tensors, signature: Signature, predict: Predict) -> Rows:
    """Ask the model about feature rows; inputs that are no numbers come from ``like``."""
    return output_rows(predict(feature_tensors(rows, like, signature)), signature)


def telling_probes(signature: Signature, rows: Rows) -> list[Probe]:
    """Choose what tells detectors apart: of images, what cameras and weather do to them.

    Exchanged pixels would be seen by any detector, and never happen.
    """
    framed = image_inputs(signature, rows)
    if not framed:
        return [PROBES[name] for name in TELLING]
    return [
        probe
        for _, frame, columns in framed
        for name, probe in image_probes(frame, columns).items()
        if name.endswith(TELLING_SEVERITY)
    ]


def _spoil_inputs(reference: Tensors, signature: Signature, predict: Predict) -> Spoil:
    """Spoil what goes in; the guard sees what then comes out."""
    if not signature.feature_width:
        return lambda picked: ()

    def spoil(picked: NDArray[np.intp]) -> Iterable[Rows]:
        rng = np.random.default_rng(SEED)
        inputs = {name: array[picked] for name, array in reference.items()}
        rows = feature_rows(inputs, signature)
        for probe in telling_probes(signature, rows):
            yield outputs_of(probe(rows, rng), inputs, signature, predict)

    return spoil
