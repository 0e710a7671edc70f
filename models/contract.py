"""The feature contract of a model's inputs: read off rows it was trained on, and held to rows."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.contract.diff import ContractDiff, diff
from guards.contract.feature import Environment, Feature, there
from guards.contract.infer import infer_features, infer_image, infer_text
from guards.schema import SchemaGuard
from models.bytes_tensor import to_elements
from models.features import feature_rows, tensor_columns, text_tensors
from models.manifest import Manifest, Signature
from models.runtime.protocol import Tensors

IMAGE_RANK = 2  # of one row: height and width at least


def infer_contract(
    reference: Tensors, signature: Signature, names: Sequence[str] = ()
) -> tuple[Feature, ...]:
    """Describe every input: the numbers in the order of `feature_rows`, then the texts.

    One feature per column of numbers where ``names`` are given, else one per tensor: pixels need
    no range each.  A tensor whose rows have a height and a width is an image.
    """
    rows = feature_rows(reference, signature)
    features: tuple[Feature, ...] = infer_features(rows, names) if names else ()
    for spec, columns in zip(signature.numeric_inputs, tensor_columns(signature), strict=True):
        if names:
            break
        if len(spec.row_shape) >= IMAGE_RANK:
            features += (infer_image(spec.name, rows[:, columns]),)
        else:
            features += infer_features(rows[:, columns], (spec.name,))
    texts = (infer_text(spec.name, reference[spec.name]) for spec in signature.text_inputs)
    return (*features, *(text for text in texts if text is not None))


def infer_label(name: str, labels: NDArray[Any]) -> Feature:
    """Describe a column that is only there in training."""
    described = infer_text(name, labels) if labels.dtype == np.object_ else None
    if described is None:
        [described] = infer_features(labels.reshape(-1, 1).astype(np.float64), [name])
    return described.model_copy(update={"environments": ("training",)})


def check_contract(
    manifest: Manifest, arrays: Tensors, environment: Environment
) -> tuple[int, Counter[tuple[str, str]]]:
    """Hold rows against the contract of one environment.

    Returns:
        How many rows broke it, and how often each (feature, kind of violation) was a reason.

    Raises:
        ValueError: a column that should be there in this environment is not.
    """
    settings, signature = manifest.guards.schema_, manifest.signature
    features = there(settings.features, environment)
    wanted = {spec.name for spec in signature.model_inputs}
    wanted |= {feature.name for feature in features if "serving" not in feature.environments}
    if lacking := sorted(wanted - set(arrays)):
        raise ValueError(f"{lacking} should be there in {environment}, and are not")
    arrays = {name: _laid_out(array) for name, array in arrays.items()}
    served = feature_rows(arrays, signature)
    blocks: list[NDArray[Any]] = []
    column = 0
    texts = text_tensors(arrays, signature)
    for feature in features:
        is_served = "serving" in feature.environments
        if feature.is_text:
            texts[feature.name] = arrays[feature.name]
        elif is_served:
            blocks.append(served[:, column : column + feature.count])
            column += feature.count
        else:
            blocks.append(arrays[feature.name].reshape(len(served), feature.count))
    rows = np.concatenate(blocks, axis=1) if blocks else served
    everywhere = [f.model_copy(update={"environments": ("serving",)}) for f in features]
    guard = SchemaGuard(settings.model_copy(update={"features": tuple(everywhere)}))
    reasons = guard.check(rows, texts).reasons
    return len(reasons), Counter((why.feature, why.kind) for row in reasons.values() for why in row)


def compare_contracts(old: Manifest, new: Manifest) -> ContractDiff:
    """Say what became of the contract from one version of a model to the next."""
    before, after = old.guards.schema_, new.guards.schema_
    return diff(before.features, after.features, old_rules=before.rules, new_rules=after.rules)


def _laid_out(array: NDArray[Any]) -> NDArray[Any]:
    return to_elements(array) if array.dtype.kind in "SUO" else array
