"""The feature contract of a model's inputs, read off rows that it was trained on."""

from collections.abc import Sequence

from guards.contract.feature import Feature
from guards.contract.infer import infer_features, infer_image, infer_text
from models.features import feature_rows, tensor_columns
from models.manifest import Signature
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
