"""Serves the model's choice or, rarely and on record, another.  START here in this folder."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guards.explore.gate import vetoes
from guards.explore.policy import ExploreSettings, distribution, eligible, greedy
from guards.explore.rng import RequestRng
from guards.verdict import Rows


@dataclass(frozen=True, slots=True)
class Choices:
    """What each of ``n`` rows is served, and how probable that was."""

    greedy: NDArray[np.int64]  # (n,), the model's own choice
    served: NDArray[np.int64]  # (n,)
    propensity: NDArray[np.float64]  # (n,), probability with which ``served`` was served
    explored: NDArray[np.bool_]  # (n,), served differs from greedy
    reasons: tuple[str | None, ...]  # why a row was not randomised, None where it was


class Explorer:
    """Randomises single choices with exact propensities.

    The decision is a pure function of settings, salt, key and scores: a repeat
    of the request is the same decision.  Whatever is wrong with the scores, the
    row is served its greedy action with propensity 1 and the reason is on record.
    """

    def __init__(self, settings: ExploreSettings, salt: bytes) -> None:
        self._settings = settings
        self._rng = RequestRng(salt, purpose="explore.single")

    def decide(
        self, scores: Rows, keys: Sequence[str], *, closed: Sequence[str | None] | None = None
    ) -> Choices:
        """Choose an action for every row.

        Args:
            scores: Shape (n, k); larger is better.
            keys: One per row, distinct, e.g. ``"<prediction id>/<row>"``.
            closed: Why a row may not explore, fixed before this call; None opens it.

        Raises:
            ValueError: not one key and one ``closed`` per row, or no action at all.
        """
        n, actions = scores.shape
        closed = (None,) * n if closed is None else closed
        if not len(keys) == len(closed) == n or actions == 0:
            raise ValueError(f"{n} rows, {actions} actions, {len(keys)} keys, {len(closed)} gates")
        allowed = eligible(actions, self._settings.excluded)
        best = greedy(scores, allowed)
        reasons = vetoes(scores, allowed, settings=self._settings, closed=closed)
        served, propensity = best.copy(), np.ones(n)
        drawn = np.flatnonzero([why is None for why in reasons])
        if len(drawn):
            choice = distribution(best[drawn], allowed, self._settings)
            items = np.arange(actions, dtype=np.uint64)
            served[drawn] = choice.draw(
                self._rng.uniforms([keys[int(row)] for row in drawn], items)
            )
            propensity[drawn] = choice.propensity(served[drawn])
        return Choices(best, served, propensity, served != best, reasons)
