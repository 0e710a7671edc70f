"""What was decided: greedy, proposed and served choices with their propensities."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOBODY = -1  # fills up slots where fewer candidates than slots were eligible

Slots = NDArray[np.int64]  # (n, k)
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Choices:
    """``n`` decisions of up to ``k`` slots; candidates by their place in the decision's list."""

    greedy: Slots  # (n, k), the model's own choice
    proposed: Slots  # (n, k), what was drawn; the greedy choice where nothing was
    served: Slots  # (n, k)
    conditional: (
        Vector  # (n, k), probability of each proposed slot given those before it; 1 at pads
    )
    p_greedy: Vector  # (n,), probability with which the greedy choice is proposed
    expected_regret: Vector  # (n,), score given up in expectation
    first: Vector  # (n, c), distribution of the first slot over the candidates
    components: tuple[str, ...]  # which part of the policy drew it, for people
    reasons: tuple[str | None, ...]  # why a decision was not randomised, None where it was
    is_live: bool  # what is proposed is served; False in shadow and apprentice mode

    @cached_property
    def explored(self) -> NDArray[np.bool_]:
        """Where something else than the greedy choice was served because it was drawn, (n,)."""
        if not self.is_live:
            return np.zeros(len(self.greedy), np.bool_)
        return np.asarray((self.served != self.greedy).any(axis=1))

    @cached_property
    def propensity(self) -> Vector:
        """Probability of what was served, slot by slot, (n, k): 1 where it was not drawn."""
        return self.conditional if self.is_live else np.ones_like(self.conditional)

    @cached_property
    def log_p(self) -> Vector:
        """Log probability of what was proposed, (n,)."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.conditional).sum(axis=1))

    def rows(self, start: int, stop: int) -> "Choices":
        """Cut out some decisions."""
        at = slice(start, stop)
        return Choices(
            self.greedy[at],
            self.proposed[at],
            self.served[at],
            self.conditional[at],
            self.p_greedy[at],
            self.expected_regret[at],
            self.first[at],
            self.components[at],
            self.reasons[at],
            self.is_live,
        )


def certain(
    greedy: Slots, *, candidates: int, reasons: Sequence[str | None], is_live: bool = True
) -> Choices:
    """Serve the greedy choice for certain."""
    n, k = greedy.shape
    first = np.zeros((n, candidates))
    if k:
        first[np.arange(n), greedy[:, 0]] = 1.0
    return Choices(
        greedy,
        greedy,
        greedy,
        np.ones((n, k)),
        np.ones(n),
        np.zeros(n),
        first,
        ("",) * n,
        tuple(reasons),
        is_live,
    )


def stack(choices: Sequence[Choices]) -> Choices:
    """Put decisions under one another; those with fewer slots or candidates are filled up."""
    k = max(one.greedy.shape[1] for one in choices)
    c = max(one.first.shape[1] for one in choices)
    return Choices(
        np.concatenate([_wide(one.greedy, k, NOBODY) for one in choices]),
        np.concatenate([_wide(one.proposed, k, NOBODY) for one in choices]),
        np.concatenate([_wide(one.served, k, NOBODY) for one in choices]),
        np.concatenate([_wide(one.conditional, k, 1.0) for one in choices]),
        np.concatenate([one.p_greedy for one in choices]),
        np.concatenate([one.expected_regret for one in choices]),
        np.concatenate([_wide(one.first, c, 0.0) for one in choices]),
        tuple(name for one in choices for name in one.components),
        tuple(why for one in choices for why in one.reasons),
        choices[0].is_live,
    )


def _wide(array: NDArray[Any], width: int, fill: float) -> NDArray[Any]:
    if array.shape[1] == width:
        return array
    wide = np.full((len(array), width), fill, array.dtype)
    wide[:, : array.shape[1]] = array
    return wide
