"""What a manifest says of slices: parts of the rows that a model is judged on separately."""

from collections.abc import Sequence
from itertools import pairwise

from pydantic import Field, model_validator

from guards.settings import Settings

PREDICTED = "predicted"  # what every classifier is sliced by: the class it answered


class SliceSpec(Settings):
    """One column to slice by."""

    by: str = Field(min_length=1, description="An input of one value per row, or a feature.")
    edges: tuple[float, ...] = Field(
        (), max_length=64, description="Cut a column of numbers here; none: each value is a slice."
    )

    @model_validator(mode="after")
    def _edges_rise(self) -> "SliceSpec":
        if any(high <= low for low, high in pairwise(self.edges)):
            raise ValueError("edges of a slice must rise")
        if self.by == PREDICTED:
            raise ValueError(f"every classifier is sliced by {PREDICTED!r} already")
        return self


def check_slices(specs: Sequence[SliceSpec], *, redacted: Sequence[str]) -> None:
    """Refuse slices that repeat one another, or would show what is redacted.

    Raises:
        ValueError: one of them does.
    """
    names = [spec.by for spec in specs]
    if len(set(names)) != len(names):
        raise ValueError("slices must each be by another column")
    if hidden := set(names) & set(redacted):
        raise ValueError(f"slices by a redacted input: {sorted(hidden)}")
