"""From what a model answers to the rows that an outlier guard may judge instead of the inputs."""

import numpy as np

from guards.columns import column_names
from guards.outlier.heads import Answer
from guards.verdict import Rows
from models.manifest import Signature, TensorSpec
from models.runtime.protocol import Tensors

TELLING_ROLES = ("logits", "embedding")  # roles of outputs that tell more than the inputs do
ANSWER_ROLES = ("logits", "probabilities")  # roles of outputs with one number per class


def telling_outputs(signature: Signature) -> tuple[TensorSpec, ...]:
    """Choose the outputs to judge: the logits, or else the probabilities; and every embedding."""
    numeric = [spec for spec in signature.outputs if spec.datatype != "BYTES"]
    answers = [
        spec
        for role in ANSWER_ROLES
        for spec in numeric
        if spec.role == role and spec.row_width > 1  # one number has no other classes beside it
    ]
    embeddings = [spec for spec in numeric if spec.role == "embedding"]
    return (*answers[:1], *embeddings)


def answer_columns(signature: Signature) -> Answer | None:
    """Find the columns of `output_rows` that hold one number per class."""
    chosen = telling_outputs(signature)
    if not chosen or chosen[0].role == "embedding":
        return None
    return Answer(slice(0, chosen[0].row_width), chosen[0].role == "probabilities")


def output_rows(outputs: Tensors, signature: Signature) -> Rows:
    """Lay the chosen outputs side by side, each flattened per row: shape (n, d), float32."""
    flat = [
        np.asarray(outputs[spec.name], np.float32).reshape(-1, spec.row_width)
        for spec in telling_outputs(signature)
    ]
    return flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)


def output_names(signature: Signature) -> tuple[str, ...]:
    """Name each column of `output_rows`."""
    chosen = telling_outputs(signature)
    return tuple(name for spec in chosen for name in column_names((spec.name,), spec.row_width))
