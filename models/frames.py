"""Which numeric inputs of a model are images."""

from guards.stress.frame import Frame
from guards.verdict import Rows
from models.features import tensor_columns
from models.signature import Signature


def image_inputs(signature: Signature, rows: Rows) -> list[tuple[str, Frame, slice]]:
    """Name them, with how they lie in feature rows (n, d) and in which columns."""
    return [
        (spec.name, frame, columns)
        for spec, columns in zip(signature.numeric_inputs, tensor_columns(signature), strict=True)
        if (frame := Frame.of(spec.row_shape, rows[:, columns])) is not None
    ]
