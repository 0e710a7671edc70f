"""What one column of a model's rows may hold."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from guards.settings import Number, Settings

Kind = Literal["number", "integer", "boolean", "category", "image", "text"]
Environment = Literal["training", "serving"]


class TextLimits(Settings):
    """What a text may be; lengths in characters, shares of its letters or character triples."""

    shortest: int = Field(default=0, ge=0)
    longest: int | None = Field(default=None, ge=0, description="None: any length.")
    scripts: tuple[str, ...] | None = Field(
        default=None, description="Scripts as Unicode names them: LATIN, CYRILLIC, CJK ..."
    )
    foreign: float = Field(
        default=0.2, ge=0, le=1, description="Share of letters that may be of other scripts."
    )
    repetition: float = Field(
        default=1.0, ge=0, le=1, description="Share of triples that may have come before."
    )

    @model_validator(mode="after")
    def _can_be_met(self) -> "TextLimits":
        if self.longest is not None and self.shortest > self.longest:
            raise ValueError(f"shortest {self.shortest} is longer than longest {self.longest}")
        return self


class Feature(Settings):
    """What one column may hold, or ``count`` consecutive columns that are alike.

    A ``text``, and a ``category`` whose categories are words, describes the input of BYTES of the
    same name; all others describe columns of numbers, in their order.
    """

    name: str = Field(min_length=1)
    count: int = Field(default=1, ge=1, description="Consecutive columns that share this entry.")
    kind: Kind = Field(
        default="number", description="Of its values; `category` where categories are listed."
    )
    unit: str = Field(default="", description="Of its values, for people and for `diff`.")
    low: float | None = Field(default=None, description="Least value; none if open.")
    high: float | None = Field(default=None, description="Largest value; none if open.")
    categories: tuple[Number, ...] | tuple[str, ...] | None = Field(
        default=None, description="The only values there are."
    )
    contrast: float | None = Field(
        default=None, ge=0, description="Least span of the values of one image."
    )
    text: TextLimits | None = Field(default=None, description="What a text may be.")
    missing: bool = Field(default=False, description="Whether NaN, or no text, is a value.")
    default: Number | str | None = Field(
        default=None, description="Put in the place of a violation whose action is `impute`."
    )
    environments: tuple[Environment, ...] = Field(
        default=("training", "serving"),
        min_length=1,
        description="Where it is there; a label is only there in training.",
    )

    @property
    def is_text(self) -> bool:
        """Whether it describes an input of BYTES."""
        return self.kind == "text" or isinstance((self.categories or (0.0,))[0], str)

    @model_validator(mode="before")
    @classmethod
    def _categories_make_a_category(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("categories") is not None:
            return {"kind": "category"} | given
        return given

    @model_validator(mode="after")
    def _can_hold_something(self) -> "Feature":
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} lies above high {self.high:g}")
        if self.categories is not None and not self.categories:
            raise ValueError("categories must not be empty; leave them out instead")
        if (self.kind == "category") != (self.categories is not None):
            raise ValueError("a category lists its categories, and nothing else does")
        has_range = self.low is not None or self.high is not None
        if has_range and self.kind in ("boolean", "text"):
            raise ValueError(f"a {self.kind} has no range")
        if self.contrast is not None and self.kind != "image":
            raise ValueError("only an image has a contrast")
        if self.text is not None and self.kind != "text":
            raise ValueError("only a text has limits of a text")
        self._check_default()
        return self

    def _check_default(self) -> None:
        if self.default is None:
            return
        if isinstance(self.default, str) != self.is_text:
            raise ValueError("the default is text where the values are, and else a number")
        if not self.holds(self.default):
            raise ValueError(f"the default {self.default!r} breaks the contract itself")

    def holds(self, value: float | str) -> bool:
        """Whether a value is in the range, one of the categories, whole, 0 or 1, as promised."""
        if self.categories is not None:
            return value in self.categories
        if isinstance(value, str):
            return bool(value) or self.missing
        if self.kind == "boolean":
            return value in (0.0, 1.0)
        if self.kind == "integer" and value != int(value):
            return False
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


def there(features: Sequence[Feature], environment: Environment) -> tuple[Feature, ...]:
    """Leave out what is not there in an environment."""
    return tuple(feature for feature in features if environment in feature.environments)
