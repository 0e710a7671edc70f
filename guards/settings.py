"""The base of every settings model: frozen, and unknown fields are refused."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Strict

Number = Annotated[float, Strict()]  # where a text may stand instead: "0" stays a text


class Settings(BaseModel):
    """Settings are values: made once, checked on the way in, never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
