"""Settings of the output guard, as the manifest writes them."""

from typing import Literal

from pydantic import Field, model_validator

from guards.settings import Settings
from guards.verdict import ActionName


class Range(Settings):
    """Where the numbers of one output may lie; the ends belong to it."""

    low: float | None = Field(default=None, description="Least value; none if open.")
    high: float | None = Field(default=None, description="Largest value; none if open.")

    @model_validator(mode="after")
    def _holds_something(self) -> "Range":
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} lies above high {self.high:g}")
        return self


class PredictionSetSettings(Settings):
    """Settings of the sets of classes that hold the true one with a stated probability."""

    coverage: float = Field(0.9, gt=0, lt=1, description="Share of rows whose class is in the set.")
    score: Literal["lac", "aps"] = Field(
        default="lac", description="lac: smallest sets; aps: larger where a row is hard."
    )


class OutputSettings(Settings):
    """Settings of `OutputGuard`."""

    nonfinite: ActionName = Field(
        default="fallback", description="What a NaN or infinite output leads to."
    )
    ranges: dict[str, Range] = Field(
        default_factory=dict, description="Where outputs may lie, by name."
    )
    range: ActionName = Field(
        default="fallback", description="What an output outside its range leads to."
    )
    sum: ActionName = Field(
        default="fallback", description="What probabilities that do not sum to one lead to."
    )
    min_confidence: float = Field(
        0.0, ge=0, le=1, description="Below it the model abstains from a row; 0 is off."
    )
    low_confidence: ActionName = Field(
        default="flag", description="What a row that the model abstains from leads to."
    )
    prediction_set: PredictionSetSettings | None = Field(
        default=None, description="Offer sets of classes; needs labels of the held-out rows."
    )
    on_error: Literal["open", "closed"] = Field(
        default="closed", description="What happens to a row if the guard itself fails."
    )
