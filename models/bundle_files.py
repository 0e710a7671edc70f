"""The files that a bundle keeps beside the model: what each holds, and how it is written."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.stress.power import Budget
from models.bundle import (
    CALIBRATION_FILE,
    DRIFT_FILE,
    GOLDEN_FILE,
    HELD_OUT_FILE,
    POWER_FILE,
    REFERENCE_FILE,
    Bundle,
    GuardSet,
    golden_group,
)
from models.bytes_tensor import to_fixed
from models.calibration import fit_calibration
from models.features import feature_rows, text_tensors
from models.held_out import keep_held_out
from models.manifest import Manifest, Signature
from models.output_rows import output_rows
from models.power import draw_power_card
from models.runtime.protocol import Runtime, Tensors
from models.traffic import fit_watched

REFERENCE_ROWS = 2048  # what monitors compare traffic with; more rows no longer change a histogram
WATCHED_ROWS = 4096  # held-out rows that the model answers to show what its answers are
BATCH_ROWS = 256


def save_reference(
    draft: Path,
    runtime: Runtime,
    reference: Tensors,
    *,
    labels: NDArray[Any] | None,
    rng: np.random.Generator,
) -> None:
    """Keep a sample of the training rows, with what the model answers to them."""
    if labels is not None and len(labels) != len(next(iter(reference.values()))):
        raise ValueError("there must be one label per reference row")
    kept = choose(reference, REFERENCE_ROWS, rng)
    inputs = take(reference, kept)
    extra = {} if labels is None else {"labels": labels[kept]}
    save_arrays(draft / REFERENCE_FILE, extra, input=inputs, output=predict(runtime, inputs))


def save_watched(
    draft: Path,
    bundle: Bundle,
    guards: GuardSet,
    runtime: Runtime,
    reference: Tensors,
    held_out: Tensors,
    *,
    names: Sequence[str],
    rng: np.random.Generator,
) -> None:
    """Note what traffic was, for the monitors of drift."""
    signature = bundle.manifest.signature
    held_out = take(held_out, choose(held_out, WATCHED_ROWS, rng))
    rows = feature_rows(held_out, signature)
    judged = guards.schema.check(rows, text_tensors(held_out, signature))
    violations = np.isin(np.arange(len(rows)), list(judged.reasons))
    outputs, p_values = predict(runtime, held_out), None
    if guards.outlier is not None:
        is_after = guards.outlier.reads == "outputs"
        p_values = guards.outlier.check(
            output_rows(outputs, signature) if is_after else rows
        ).p_values
    watched = fit_watched(
        bundle.manifest,
        reference,
        held_out,
        outputs=outputs,
        p_values=p_values,
        violations=violations,
        predict=partial(predict, runtime),
        names=names,
        rng=rng,
    )
    save_arrays(draft / DRIFT_FILE, watched.to_arrays())


def save_golden(
    draft: Path, models: Mapping[str, Runtime], inputs: Tensors, *, signature: Signature
) -> None:
    """Record raw inputs, features and outputs, by the very runtimes that will serve.

    ``models`` are the model, named "", and its rungs, named by their files.
    """
    features = {"features": feature_rows(inputs, signature)}
    outputs = {golden_group(rung): predict(runtime, inputs) for rung, runtime in models.items()}
    save_arrays(draft / GOLDEN_FILE, features, input=inputs, **outputs)


def save_held_out(
    draft: Path,
    manifest: Manifest,
    runtime: Runtime,
    held_out: Tensors,
    *,
    labels: NDArray[Any],
    rng: np.random.Generator,
) -> None:
    """Keep what label-free estimates start from."""
    if labels.shape != (len(next(iter(held_out.values()))),):
        raise ValueError("there must be one label per held-out row")
    outputs = predict(runtime, held_out)
    kept = keep_held_out(manifest.signature, held_out, outputs, labels, rng=rng)
    if kept is not None:
        save_arrays(draft / HELD_OUT_FILE, kept.to_arrays())


def save_calibration(
    draft: Path,
    manifest: Manifest,
    runtime: Runtime,
    held_out: Tensors,
    *,
    labels: NDArray[Any] | None,
) -> None:
    """Learn how sure the model may be of its classes, where held-out rows have labels."""
    settings = manifest.guards.output
    outputs = {} if labels is None else predict(runtime, held_out)
    calibration = fit_calibration(settings, manifest.signature, outputs, labels)
    if calibration is not None:
        save_arrays(draft / CALIBRATION_FILE, calibration.to_arrays())


def save_power_card(
    draft: Path,
    guards: GuardSet,
    held_out: Tensors,
    runtime: Runtime,
    signature: Signature,
    *,
    budget: Budget,
) -> None:
    """Measure the very guards that will serve."""
    card = draw_power_card(
        signature,
        guards,
        held_out,
        predict=partial(predict, runtime),
        budget=budget,
        clock=time.monotonic,
    )
    if card is not None:
        (draft / POWER_FILE).write_text(card.model_dump_json(indent=1) + "\n")


def predict(runtime: Runtime, inputs: Tensors) -> dict[str, NDArray[Any]]:
    """Answer any number of rows, `BATCH_ROWS` at a time."""
    rows = len(next(iter(inputs.values())))
    answers = [
        runtime.predict({name: a[start : start + BATCH_ROWS] for name, a in inputs.items()})
        for start in range(0, rows, BATCH_ROWS)
    ]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def choose(inputs: Tensors, most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw at most ``most`` rows, in their order."""
    rows = len(next(iter(inputs.values())))
    return np.sort(rng.choice(rows, min(most, rows), replace=False))


def take(inputs: Tensors, rows: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    """Take some rows of every tensor."""
    return {name: array[rows] for name, array in inputs.items()}


def save_arrays(
    path: Path, plain: Tensors | None = None, **groups: Mapping[str, NDArray[Any]]
) -> None:
    """Write arrays as ``name``, and the arrays of a group as ``group/name``."""
    named = {f"{group}/{name}": a for group, arrays in groups.items() for name, a in arrays.items()}
    named |= plain or {}
    fixed = {name: to_fixed(a) if a.dtype == np.object_ else a for name, a in named.items()}
    np.savez(path, allow_pickle=False, **fixed)
