"""The tensors that a model takes and gives, as its manifest names them."""

import math
from typing import Annotated, Any, Literal

import ml_dtypes
import numpy as np
from pydantic import Field, StringConstraints, model_validator

from guards.settings import Settings

# Open Inference Protocol datatypes.  Arrays of BYTES hold `bytes` objects.
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "BYTES": np.dtype(np.object_),
}

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "FP32", "FP64", "BF16", "BYTES",
]  # fmt: skip


Role = Literal["probabilities", "logits", "scores", "label", "value", "embedding", "context"]


class TensorSpec(Settings):
    """One named tensor; the first dimension is the batch and is written -1."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    datatype: Datatype
    shape: tuple[int, ...] = Field(min_length=1)
    role: Role | None = Field(
        None,
        description="What an output is. context: an input that the gateway reads, and neither the "
        "model nor its guards.",
    )

    @model_validator(mode="after")
    def _batch_first(self) -> "TensorSpec":
        if self.shape[0] != -1 or any(dim < 1 for dim in self.shape[1:]):
            raise ValueError("shape must be [-1, ...] with positive dimensions after the first")
        return self

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return self.shape[1:]

    @property
    def row_width(self) -> int:
        """Numbers in one row."""
        return math.prod(self.row_shape)


class Signature(Settings):
    """The tensors that go in and come out, in order."""

    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> "Signature":
        for specs in (self.inputs, self.outputs):
            if len({spec.name for spec in specs}) != len(specs):
                raise ValueError("tensor names must differ")
        if not self.model_inputs:
            raise ValueError("the model needs an input: all are context")
        if any(spec.role == "context" for spec in self.outputs):
            raise ValueError("context is an input")
        return self

    @property
    def answer(self) -> TensorSpec:
        """The output that holds the answer: by role, else the first."""
        named = (spec for spec in self.outputs if spec.role not in (None, "embedding"))
        return next(named, self.outputs[0])

    @property
    def model_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that the model itself is given."""
        return tuple(spec for spec in self.inputs if spec.role != "context")

    @property
    def numeric_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that guards can judge."""
        return tuple(spec for spec in self.model_inputs if spec.datatype != "BYTES")

    @property
    def text_inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs of BYTES, of which the feature contract can say something."""
        return tuple(spec for spec in self.model_inputs if spec.datatype == "BYTES")

    @property
    def feature_width(self) -> int:
        """Numbers in one row of all of them."""
        return sum(spec.row_width for spec in self.numeric_inputs)
