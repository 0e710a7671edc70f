"""When a feedback loop is one: what a manifest may say of it, apart from what judges it."""

from pydantic import Field

from guards.settings import Settings


class LoopSettings(Settings):
    """When a loop is one."""

    least: int = Field(10, ge=1, description="Impressions after which an item had its chance.")
    patience: int = Field(5, ge=1, description="Windows within which a new item should get them.")
    share: float = Field(0.5, gt=0, lt=1, description="Share of new items that should.")
    tolerated_gap: float = Field(
        0.25, ge=0, description="Accepted calibration gap, relative to the reward observed."
    )
    alpha: float = Field(
        0.05, gt=0, lt=1, description="Chance that the alarm ever sounds without cause."
    )
