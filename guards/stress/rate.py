"""A share that was counted, with what chance leaves open about it."""

from typing import Self

from pydantic import Field
from scipy.special import betaincinv

from guards.settings import Settings

CONFIDENCE = 0.95


class Rate(Settings):
    """How many of some rows, and where the true share lies in 95 of 100 repetitions.

    Source: Clopper and Pearson (1934), "The use of confidence or fiducial limits illustrated in
    the case of the binomial", Biometrika 26(4).
    """

    count: int = Field(ge=0)
    rows: int = Field(ge=0)
    share: float | None = Field(ge=0, le=1, description="None where there are no rows.")
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)

    @classmethod
    def of(cls, count: int, rows: int) -> Self:
        """Make the rate of ``count`` among ``rows``."""
        tail = (1 - CONFIDENCE) / 2
        low = float(betaincinv(count, rows - count + 1, tail)) if count else 0.0
        high = float(betaincinv(count + 1, rows - count, 1 - tail)) if count < rows else 1.0
        share = count / rows if rows else None
        return cls(count=count, rows=rows, share=share, low=low, high=high)
