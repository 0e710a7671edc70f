"""Why a row may not explore; decided before the draw, never after it.

A veto after the draw would change what is served without changing the logged
probability, and every estimate made from the log would be wrong.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from guards.explore.policy import ExploreSettings
from guards.verdict import Rows


def vetoes(
    scores: Rows,
    allowed: NDArray[np.bool_],
    *,
    settings: ExploreSettings,
    closed: Sequence[str | None],
) -> tuple[str | None, ...]:
    """Give each row the first reason not to explore it, None where there is none."""
    general = _general_veto(allowed, settings)
    if general is not None:
        return tuple(why or general for why in closed)
    finite = np.asarray(np.isfinite(scores).all(axis=1))
    # A model that cannot tell any action from another is broken or a fallback.
    constant = np.asarray((scores == scores[:, :1]).all(axis=1))
    if finite.all() and not constant.any():
        return tuple(closed)
    return tuple(
        why or (None if sound else "scores not finite") or ("scores all equal" if flat else None)
        for why, sound, flat in zip(closed, finite, constant, strict=True)
    )


def _general_veto(allowed: NDArray[np.bool_], settings: ExploreSettings) -> str | None:
    """Find what forbids exploring whatever the row."""
    count = int(allowed.sum())
    if settings.kind == "none":
        return "exploration is off"
    if count < 2:
        return "fewer than two actions to choose from"
    if settings.floor * count > 1:
        return f"a floor of {settings.floor:g} is impossible for {count} actions"
    return None
