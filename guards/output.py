"""Answers that cannot be right, or are too uncertain."""

import numpy as np
from pydantic import Field

from guards.settings import Settings
from guards.verdict import ActionName, Reason, Rows, Verdict, action_of


class OutputSettings(Settings):
    """Settings of `OutputGuard`."""

    nonfinite: ActionName = Field(
        default="fallback", description="What a NaN or infinite output leads to."
    )
    min_confidence: float = Field(
        0.0, ge=0, le=1, description="The largest output of a row must reach this; 0 is off."
    )
    low_confidence: ActionName = Field(
        default="flag", description="What a row below the least confidence leads to."
    )


class OutputGuard:
    """Judges what the model answered: is it finite, is it sure enough?"""

    name = "output"

    def __init__(self, settings: OutputSettings) -> None:
        self._settings = settings
        self._nonfinite = action_of(settings.nonfinite)
        self._low_confidence = action_of(settings.low_confidence)

    def check(self, rows: Rows) -> Verdict:
        """Judge the outputs of each row, shape (n, k), k at least 1; (n,) is read as (n, 1)."""
        outputs = rows[:, None] if rows.ndim == 1 else rows
        is_finite = np.isfinite(outputs)
        if not self._settings.min_confidence and is_finite.all():
            return Verdict(self.name, np.zeros(len(outputs), np.uint8))
        best = outputs.max(axis=1)  # NaN if the row holds one
        finite = is_finite.all(axis=1)
        least = self._settings.min_confidence or -np.inf  # 0 is off, also for values below it
        unsure = finite & (best < least)
        actions = np.zeros(len(outputs), np.uint8)
        actions[unsure] = self._low_confidence
        actions[~finite] = self._nonfinite
        reasons = {int(row): (self._unsure(best[row]),) for row in np.flatnonzero(unsure)}
        for row in np.flatnonzero(~finite):
            reasons[int(row)] = (_nonfinite(outputs[row]),)
        return Verdict(self.name, actions, reasons=reasons)

    def _unsure(self, best: np.floating) -> Reason:
        least = f"at least {self._settings.min_confidence:g}"
        return Reason("output", "confidence", float(best), least)


def _nonfinite(outputs: Rows) -> Reason:
    column = int(np.flatnonzero(~np.isfinite(outputs))[0])
    # As a word: neither NaN nor infinity exists in JSON.
    return Reason(f"output[{column}]", "nonfinite", str(float(outputs[column])), "a finite number")
