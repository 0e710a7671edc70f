"""What explorers of single decisions share: gates row by row, and choices made of draws."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from guards.explore.choices import Choices, certain
from guards.explore.distribution import Arms
from guards.explore.gate import Gates
from guards.explore.policy import Best, Scores
from guards.explore.settings import Mode

# Asked once for each decision that is still open, with its expected regret; says why it may not be
# drawn.  It knows history and scores, and never the draw.
Charge = Callable[[int, float], str | None]


def drawn_choices(
    best: Best,
    rows: NDArray[np.int64],
    reasons: list[str | None],
    arms: Arms,
    *,
    drawn: Best,
    names: Sequence[str],
    regret: Scores,
) -> Choices:
    """Enter the draws of those rows that are still open."""
    p, n = arms.mixture.p, len(best)
    at = np.arange(len(rows))
    found = Choices(
        best[rows, None],
        drawn[:, None],
        drawn[:, None],
        p[at, drawn][:, None],
        p[at, best[rows]],
        regret,
        p,
        tuple(names),
        (None,) * len(rows),
        is_live=True,
    )
    if len(rows) == n and not any(reasons):
        return found
    return _entered(found, certain(best[:, None], candidates=p.shape[1], reasons=reasons), rows)


def _entered(found: Choices, choices: Choices, rows: NDArray[np.int64]) -> Choices:
    """Put what was drawn for ``rows`` in the place of what is certain, unless it is closed."""
    at = np.array([choices.reasons[row] is None for row in rows.tolist()], np.bool_)
    rows = rows[at]
    proposed, conditional = choices.proposed.copy(), choices.conditional.copy()
    proposed[rows] = found.proposed[at]
    conditional[rows] = found.conditional[at]
    choices.p_greedy[rows] = found.p_greedy[at]
    choices.expected_regret[rows] = found.expected_regret[at]
    choices.first[rows] = found.first[at]
    components = list(choices.components)
    for row, place in zip(rows.tolist(), np.flatnonzero(at).tolist(), strict=True):
        components[row] = found.components[place]
    return replace(
        choices,
        proposed=proposed,
        served=proposed,
        conditional=conditional,
        components=tuple(components),
    )


def in_mode(choices: Choices, mode: Mode, baseline: Best | None) -> Choices:
    """Serve what the mode says; what was proposed stays on record."""
    if mode in ("on", "off"):
        return choices
    served = choices.greedy
    if mode == "apprentice" and baseline is not None:
        served = np.where(baseline[:, None] >= 0, baseline[:, None], served)
    return replace(choices, served=served, is_live=False)


def off_gates(mode: Mode, closed: Gates) -> Gates:
    """Close every gate if the mode is off."""
    return tuple(why or "off" for why in closed) if mode == "off" else closed


def open_rows(reasons: Sequence[str | None]) -> NDArray[np.int64]:
    """List the rows that nothing closes."""
    return np.array([row for row, why in enumerate(reasons) if why is None], np.int64)


def close(
    reasons: list[str | None], rows: NDArray[np.int64], where: NDArray[np.bool_], why: str
) -> None:
    """Close rows; ``reasons`` is changed, and the first reason stays."""
    for row in rows[where].tolist():
        reasons[row] = reasons[row] or why


def ask_charge(
    reasons: list[str | None], rows: NDArray[np.int64], regret: Scores, charge: Charge | None
) -> None:
    """Ask the last gate about every row still open; ``reasons`` is changed."""
    if charge is None:
        return
    for row, given_up in zip(rows.tolist(), regret.tolist(), strict=True):
        if reasons[row] is None:
            reasons[row] = charge(row, given_up)
