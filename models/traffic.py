"""What is watched of a model's traffic, and what it was on reference rows.

Three monitors, each with channels of its own: ``reject_rate`` (the p-value of the outlier guard:
one number that sees every kind of stranger, and the one that may wake people), ``outputs`` (what
the model answers), ``features`` (what it is asked, before anything is imputed, and whether that
violates the schema).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from guards.drift.cells import text_codes
from guards.drift.reference import Channel, Reference
from guards.verdict import Vector
from models.features import feature_names, tensor_columns
from models.manifest import Manifest, Signature, TensorSpec
from models.prediction import answers_classes, predicted
from models.runtime.protocol import Tensors

Monitored = Literal["reject_rate", "outputs", "features"]
MONITORED: tuple[Monitored, ...] = ("reject_rate", "outputs", "features")
PAGING: Monitored = "reject_rate"
P_VALUE, VIOLATION = "p_value", "schema violation"

COLUMNS_MAX = 64  # of a tensor watched column by column; a wider one is summarised
SUMMARIES = ("mean", "spread", "least", "greatest")
CATEGORIES_MAX = 1000  # different texts; where there are more, their length is watched
REFERENCE_ROWS = 20_000  # more rows no longer tighten any bound that matters
RELIANCE_ROWS = 256

Predict = Callable[[Tensors], Tensors]


@dataclass(frozen=True, slots=True)
class Watched:
    """Channels of every monitor, with their reference and their weight in its alarm."""

    lengths: frozenset[str]  # BYTES inputs whose length is watched, not their value
    references: Mapping[Monitored, Reference]  # of the monitors that this model has
    weights: Mapping[Monitored, NDArray[np.float64]]

    def input_values(self, inputs: Tensors, signature: Signature) -> NDArray[np.float64]:
        """One column per channel of ``features``, but for the violation of the schema."""
        return _input_values(inputs, signature, self.lengths)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give up everything, as arrays that need no pickle."""
        arrays: dict[str, NDArray[Any]] = {"lengths": np.array(sorted(self.lengths), np.str_)}
        for monitored, reference in self.references.items():
            arrays[f"{monitored}/weights"] = self.weights[monitored]
            arrays |= {f"{monitored}/{name}": a for name, a in reference.to_arrays().items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Watched":
        """Rebuild what gave ``arrays``.

        Raises:
            KeyError: some are missing.
        """
        present = [name for name in MONITORED if f"{name}/weights" in arrays]
        return cls(
            frozenset(str(name) for name in arrays["lengths"]),
            {name: Reference.from_arrays(_group(arrays, name)) for name in present},
            {name: arrays[f"{name}/weights"] for name in present},
        )


def _group(arrays: Mapping[str, NDArray[Any]], group: str) -> dict[str, NDArray[Any]]:
    return {
        name.removeprefix(f"{group}/"): array
        for name, array in arrays.items()
        if name.startswith(f"{group}/")
    }


def fit_watched(
    manifest: Manifest,
    reference: Tensors,
    held_out: Tensors,
    *,
    outputs: Tensors,
    p_values: Vector | None,
    violations: NDArray[np.bool_],
    predict: Predict,
    names: Sequence[str],
    rng: np.random.Generator,
) -> Watched:
    """Learn what traffic was.

    Args:
        manifest: Of the model.
        reference: Raw inputs; they say what features are.
        held_out: Raw inputs that the model has not seen: on its training rows it answers more
            surely than it ever will again, so these say what answers are.
        outputs: The model's answers to ``held_out``.
        p_values: Of the outlier guard on ``held_out``; None without that guard.
        violations: Shape (n,), which of ``held_out`` the schema guard had something against.
        predict: The model, to find out which features it relies on.
        names: One per column of `feature_rows`; after the tensors if empty.
        rng: Chooses the rows.
    """
    signature, ordered = manifest.signature, manifest.guards.drift.time_ordered
    lengths = frozenset(spec.name for spec in _texts(signature) if _is_varied(reference[spec.name]))
    sample = _sample(reference, REFERENCE_ROWS, rng)
    values = _input_values(sample, signature, lengths)
    inputs = [
        Channel(name, column, kind)
        for (name, kind), column in zip(
            _input_channels(manifest, lengths, names), values.T, strict=True
        )
    ]
    violated = Channel(VIOLATION, violations.astype(float), "categorical")
    channels: dict[Monitored, list[Channel]] = {"features": [*inputs, violated]}
    if answers := _output_channels(outputs, signature):
        channels["outputs"] = answers
    if p_values is not None and np.isfinite(p_values).any():
        channels["reject_rate"] = [Channel(P_VALUE, p_values[np.isfinite(p_values)], "p_value")]
    weights = {name: np.ones(len(found)) for name, found in channels.items()}
    weights["features"][: len(inputs)] = _reliance(held_out, signature, predict, rng, len(inputs))
    return Watched(
        lengths,
        {name: Reference.fit(found, time_ordered=ordered) for name, found in channels.items()},
        {name: found / found.sum() for name, found in weights.items()},
    )


def output_values(outputs: Tensors, signature: Signature) -> NDArray[np.float64]:
    """One column per channel of ``outputs``: none where the answer is a text."""
    spec = signature.answer
    if spec.datatype == "BYTES":
        return np.empty((len(outputs[spec.name]), 0))
    if not answers_classes(signature):
        return outputs[spec.name].reshape(-1, spec.row_width)[:, :COLUMNS_MAX].astype(np.float64)
    classes = predicted(outputs, signature)
    if spec.role != "probabilities":
        return classes[:, None]
    answer = outputs[spec.name].reshape(-1, spec.row_width)
    confidence = answer.max(axis=1) if spec.row_width > 1 else np.maximum(answer, 1 - answer)[:, 0]
    return np.column_stack([classes, confidence.astype(np.float64)])


def _output_channels(outputs: Tensors, signature: Signature) -> list[Channel]:
    values, spec = output_values(outputs, signature), signature.answer
    if not answers_classes(signature):
        width = values.shape[1]
        named = [spec.name] if width == 1 else [f"{spec.name}[{i}]" for i in range(width)]
        return [Channel(name, column) for name, column in zip(named, values.T, strict=True)]
    kinds: tuple[tuple[str, Literal["numeric", "categorical"]], ...] = (
        ("predicted class", "categorical"),
        ("confidence", "numeric"),
    )
    return [
        Channel(name, column, kind) for (name, kind), column in zip(kinds, values.T, strict=False)
    ]


def _input_channels(
    manifest: Manifest, lengths: frozenset[str], names: Sequence[str]
) -> list[tuple[str, Literal["numeric", "categorical"]]]:
    """Name every channel of the inputs, in the order of `_input_values`."""
    signature = manifest.signature
    columns = feature_names(signature, names)
    listed = {f.name for f in manifest.guards.schema_.features if f.categories is not None}
    found: list[tuple[str, Literal["numeric", "categorical"]]] = []
    for spec, place in zip(signature.numeric_inputs, tensor_columns(signature), strict=True):
        if spec.row_width > COLUMNS_MAX:
            found += [(f"{spec.name}.{summary}", "numeric") for summary in SUMMARIES]
        else:
            found += [(n, "categorical" if n in listed else "numeric") for n in columns[place]]
    for spec in _texts(signature):
        is_length = spec.name in lengths
        found.append(
            (f"{spec.name}.length", "numeric") if is_length else (spec.name, "categorical")
        )
    return found


def _input_values(
    inputs: Tensors, signature: Signature, lengths: frozenset[str]
) -> NDArray[np.float64]:
    rows = len(inputs[signature.model_inputs[0].name])
    parts: list[NDArray[Any]] = [np.empty((rows, 0))]
    for spec in signature.numeric_inputs:
        flat = inputs[spec.name].reshape(rows, -1)
        parts.append(flat if spec.row_width <= COLUMNS_MAX else _summaries(flat))
    for spec in _texts(signature):
        texts = inputs[spec.name].reshape(rows)
        parts.append((_lengths(texts) if spec.name in lengths else _categories(texts))[:, None])
    return np.concatenate(parts, axis=1, dtype=np.float64, casting="unsafe")


def _summaries(flat: NDArray[Any]) -> NDArray[Any]:
    """`SUMMARIES` of each row; a row that holds NaN has none."""
    with np.errstate(invalid="ignore", over="ignore"):
        numbers = flat.astype(np.float32, copy=False)
        return np.stack([numbers.mean(1), numbers.std(1), numbers.min(1), numbers.max(1)], axis=1)


def _texts(signature: Signature) -> list[TensorSpec]:
    """The inputs of one text per row."""
    return [s for s in signature.model_inputs if s.datatype == "BYTES" and s.row_width == 1]


def _is_varied(texts: NDArray[Any]) -> bool:
    return len({bytes(text) for text in texts.reshape(-1).tolist()}) > CATEGORIES_MAX


def _lengths(texts: NDArray[Any]) -> NDArray[np.float64]:
    return np.array([len(text) for text in texts.tolist()], np.float64)


def _categories(texts: NDArray[Any]) -> NDArray[np.float64]:
    """An empty text is a missing one."""
    decoded = [bytes(text).decode("utf-8", "replace") or None for text in texts.tolist()]
    return text_codes(decoded)


def _sample(inputs: Tensors, most: int, rng: np.random.Generator) -> Tensors:
    """Draw at most ``most`` rows, in their order."""
    rows = len(next(iter(inputs.values())))
    if rows <= most:
        return inputs
    kept = np.sort(rng.choice(rows, most, replace=False))
    return {name: array[kept] for name, array in inputs.items()}


def _reliance(
    inputs: Tensors,
    signature: Signature,
    predict: Predict,
    rng: np.random.Generator,
    channels: int,
) -> NDArray[np.float64]:
    """How much the answer changes when a column is shuffled, shape (channels,).

    Zero, and so silent, where it does not change for any of the rows.  All alike where a model
    takes anything but columns of numbers, or answers in texts: there a channel is no feature.

    Source: Breiman (2001), "Random forests", section 10, on the answer instead of the error.
    """
    columns = [spec for spec in signature.model_inputs if spec.row_width <= COLUMNS_MAX]
    if len(columns) < len(signature.model_inputs) or signature.answer.datatype == "BYTES":
        return np.ones(channels)
    if any(spec.datatype == "BYTES" for spec in columns):
        return np.ones(channels)
    sample = _sample(inputs, RELIANCE_ROWS, rng)
    before = _answer(predict(sample), signature)
    found: list[float] = []
    for spec in columns:
        for column in range(spec.row_width):
            after = _answer(predict(_shuffled(sample, spec, column, rng)), signature)
            found.append(float(np.abs(after - before).mean()))
    reliance = np.nan_to_num(np.array(found), nan=0.0, posinf=0.0)
    return reliance / reliance.mean() if reliance.any() else np.ones(channels)


def _answer(outputs: Tensors, signature: Signature) -> NDArray[np.float64]:
    return outputs[signature.answer.name].astype(np.float64)


def _shuffled(inputs: Tensors, spec: TensorSpec, column: int, rng: np.random.Generator) -> Tensors:
    flat = inputs[spec.name].reshape(-1, spec.row_width).copy()
    flat[:, column] = rng.permutation(flat[:, column])
    return {**inputs, spec.name: flat.reshape(inputs[spec.name].shape)}
