"""Serves the model's choice or, rarely and on record, another.  START here in this folder.

`Explorer` decides single choices, `slate_explorer` rankings and `threshold_explorer` approvals;
each reads the propensity from the object it draws from.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from guards.explore.choices import Choices, certain
from guards.explore.distribution import Arms, Probabilities, given_probabilities
from guards.explore.drawing import (
    Charge,
    ask_charge,
    close,
    drawn_choices,
    in_mode,
    off_gates,
    open_rows,
)
from guards.explore.gate import Gates, vetoes
from guards.explore.policies import FromModel, Greedy
from guards.explore.policy import (
    Allowed,
    Best,
    Scores,
    arms_of,
    eligible,
    expected_regret,
    gaps_of,
    greedy,
    with_floor,
    with_less_regret,
)
from guards.explore.rng import Hashes, Rngs
from guards.explore.settings import SingleExplore
from guards.verdict import Rows

_ONE = np.zeros(1, np.uint64)  # a number of its own per key


class Explorer:
    """Randomises single choices with exact propensities.

    The decision is a pure function of settings, salt, key and scores: a repeat
    of the request is the same decision.  Whatever is wrong with the scores, the
    row is served its greedy action with propensity 1 and the reason is on record.
    """

    def __init__(self, settings: SingleExplore, salt: bytes, *, domain: str = "") -> None:
        """Prepare the generators; other domains (models, configurations) draw other numbers."""
        self._settings = settings
        self._rngs = Rngs(salt, domain=domain)

    def decide(
        self,
        scores: Rows,
        keys: Sequence[str],
        *,
        closed: Gates | None = None,
        allowed: Allowed | None = None,
        items: Hashes | None = None,
        given: Probabilities | None = None,
        baseline: Best | None = None,
        charge: Charge | None = None,
    ) -> Choices:
        """Choose an action for every row.

        Args:
            scores: Shape (n, k); larger is better.
            keys: One per row, e.g. ``"<prediction id>/<row>"``; equal keys draw equal numbers.
            closed: Why a row may not explore, fixed before this call; None opens it.
            allowed: Shape (n, k), what may be served, at least one per row; None: all columns but
                the excluded ones.
            items: Shape (n, k), 64-bit identities of the actions; None: the columns'.
            given: Shape (n, k), the model's own distribution, for the policy ``model``.
            baseline: Shape (n,), what an apprentice serves; -1: nothing that may be served.
            charge: Last gate before the draw.

        Raises:
            ValueError: not one key and one ``closed`` per row, or no action at all.
        """
        n, actions = scores.shape
        closed = (None,) * n if closed is None else closed
        if not len(keys) == len(closed) == n or actions == 0:
            raise ValueError(f"{n} rows, {actions} actions, {len(keys)} keys, {len(closed)} gates")
        items = np.arange(actions, dtype=np.uint64) if items is None else items
        if allowed is None:
            allowed = np.tile(self._columns(actions), (n, 1))
        values = scores.astype(np.float64, copy=False)
        best = greedy(values, allowed)
        mode = self._settings.mode
        choices = self._draw(
            values, allowed, best, keys, off_gates(mode, closed), items, given, charge
        )
        return in_mode(choices, mode, baseline)

    def _columns(self, actions: int) -> NDArray[np.bool_]:
        excluded = self._settings.excluded
        return eligible(actions, [column for column in excluded if isinstance(column, int)])

    def _draw(
        self,
        scores: Scores,
        allowed: Allowed,
        best: Best,
        keys: Sequence[str],
        closed: Gates,
        items: Hashes,
        given: Probabilities | None,
        charge: Charge | None,
    ) -> Choices:
        settings = self._settings
        gaps = gaps_of(scores, allowed, best)
        if settings.max_regret is not None:
            allowed = allowed & (gaps <= settings.max_regret)
        floor = 0.0 if isinstance(settings.policy, Greedy) else settings.floor
        reasons = list(vetoes(scores, allowed, floor=floor, closed=closed))
        if given is not None:
            own = given_probabilities(given, allowed)
            reasons = [why or bad for why, bad in zip(reasons, own, strict=True)]
        elif isinstance(settings.policy, FromModel):
            reasons = [why or "invalid_distribution" for why in reasons]
        rows = open_rows(reasons)
        if not len(rows):
            return certain(best[:, None], candidates=scores.shape[1], reasons=reasons)
        arms = self._arms(
            gaps[rows], allowed[rows], best[rows], None if given is None else given[rows]
        )
        regret = expected_regret(arms, gaps[rows])
        limit = settings.max_expected_regret
        if limit is not None:  # the floor alone may cost more than that
            close(reasons, rows, regret > limit * (1 + 1e-9), "regret")
        ask_charge(reasons, rows, regret, charge)
        drawn, names = self._chosen(arms, [keys[row] for row in rows.tolist()], items, rows)
        return drawn_choices(best, rows, reasons, arms, drawn=drawn, names=names, regret=regret)

    def _chosen(
        self, arms: Arms, keys: list[str], items: Hashes, rows: NDArray[np.int64]
    ) -> tuple[Best, tuple[str, ...]]:
        """Draw one action per row, and name the arm that it came from."""
        uniforms = self._rngs.of("single").uniforms(keys, items if items.ndim == 1 else items[rows])
        if len(arms.names) == 1:
            return arms.draw(uniforms)
        return arms.draw(uniforms, self._rngs.of("arm").uniforms(keys, _ONE)[:, 0])

    def _arms(
        self, gaps: Scores, allowed: Allowed, best: Best, given: Probabilities | None
    ) -> Arms:
        settings = self._settings
        policy = settings.policy
        arms = arms_of(policy, gaps, allowed, best, given=given)
        floor = 0.0 if isinstance(policy, Greedy) else settings.floor
        if settings.max_expected_regret is not None:
            most = _most_before_floor(gaps, allowed, floor, settings.max_expected_regret)
            arms = with_less_regret(arms, policy, gaps, allowed, best, most=most)
        return with_floor(arms, allowed, floor) if floor else arms


def _most_before_floor(gaps: Scores, allowed: Allowed, floor: float, limit: float) -> Scores:
    """Find the regret the policy may have to be at ``limit`` with its floor, (n,)."""
    count = allowed.sum(axis=1)
    share = np.minimum(floor * count, 1 - 1e-12)
    of_uniform = np.where(allowed, gaps, 0.0).sum(axis=1) / count
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.clip((limit - share * of_uniform) / (1 - share), 0.0, limit))
