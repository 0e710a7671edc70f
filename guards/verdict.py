"""What every guard returns, and what a guard is.  START here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.floating]  # (n, d), one row per example
Vector = NDArray[np.floating]  # (n,)
Actions = NDArray[np.uint8]  # (n,), values of Action


EXCHANGEABLE = "ordinary traffic is exchangeable with the calibration rows"
_ROWS = {"marginal": "held-out", "cross": "cross-fitted reference"}


class Action(IntEnum):
    """What happens to a row; the larger wins when guards disagree."""

    ALLOW = 0
    FLAG = 1
    FALLBACK = 2
    REJECT = 3


ActionName = Literal["allow", "flag", "fallback", "reject"]


def action_of(name: ActionName) -> Action:
    """Read an action as the manifest writes it."""
    return Action[name.upper()]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one row was not simply allowed.

    ``observed`` is the user's data: it goes into decision records and into the
    extra output ``handrail.reasons``, never into an error sentence or a log.
    """

    feature: str
    kind: str  # schema: missing | nonfinite | range | category; others name themselves
    observed: float | str | None = None
    expected: str = ""
    p: float | None = None


@dataclass(frozen=True, slots=True)
class Repair:
    """A value that takes the place of one that broke the feature contract."""

    row: int
    column: int  # of the rows of numbers, or within the row of ``tensor``
    value: float | str | None
    tensor: str = ""  # the input of BYTES that it belongs to; "": a number


Mode = Literal["marginal", "pac", "cross"]  # how a threshold was calibrated


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What a threshold promises about ordinary rows, assuming they are exchangeable with traffic.

    ``pac``: an ordinary row is judged strange with probability at most ``alpha``, and that holds
    with probability ``1 - delta`` over the draw of the ``n`` calibration rows.  ``marginal`` and
    ``cross``: at most ``alpha`` on average over such draws; of one draw nothing is promised, so
    ``delta`` is 1.  Cross-fitted, ``alpha`` is twice what the threshold was set to.
    """

    alpha: float
    delta: float
    n: int
    mode: Mode
    assumption: str = EXCHANGEABLE

    def __str__(self) -> str:
        """Put it as a sentence for people."""
        how = (
            f"with confidence {1 - self.delta:g} from {self.n} held-out rows"
            if self.mode == "pac"
            else f"on average over draws of {self.n} {_ROWS[self.mode]} rows"
        )
        return f"false alarms at most {self.alpha:g}, {how}, if {self.assumption}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One guard's judgement of ``n`` rows; nothing in it is ever changed."""

    guard: str
    actions: Actions  # (n,)
    p_values: Vector | None = None  # (n,), NaN where the row could not be scored
    threshold: float | None = None  # a row with p <= threshold is strange
    guarantee: Guarantee | None = None
    reasons: Mapping[int, tuple[Reason, ...]] = field(
        default_factory=dict
    )  # by row, strange rows only
    repairs: tuple[Repair, ...] = ()  # to be made before anybody else looks at the rows

    @property
    def is_clear(self) -> bool:
        """Nothing was strange: a row that is not simply allowed always has a reason."""
        return not self.reasons

    def rows(self, start: int, stop: int) -> "Verdict":
        """Cut out the rows of one request from the verdict of a batch."""
        return Verdict(
            self.guard,
            self.actions[start:stop],
            None if self.p_values is None else self.p_values[start:stop],
            self.threshold,
            self.guarantee,
            {row - start: why for row, why in self.reasons.items() if start <= row < stop},
        )


class Guard(Protocol):
    """Judges rows.  Immutable after it is built; safe to call from any thread."""

    name: str

    def check(self, rows: Rows) -> Verdict:
        """Judge each of ``n`` rows, shape (n, d); never changes anything.

        Raises:
            ShapeMismatchError: the rows are not as wide as the guard was fitted on.
        """
        ...
