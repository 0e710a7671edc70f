"""The base of every settings model: frozen, and unknown fields are refused."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings are values: made once, checked on the way in, never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
