"""What keeps bursty traffic from looking like drift: thinning, and the design effect.

The bounds of this package assume that, while nothing drifts, values are independent of
each other.  One client sending the same row a thousand times breaks that, and so does
traffic that wanders.  Neither remedy is a proof: thinning removes repetitions of one entity,
the design effect discounts correlation that the reference already had.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

BLOCK_ROWS = 100  # longer than most bursts; 20 blocks are the least that say anything
BLOCKS_MIN = 20
SIGNIFICANCE = 0.01  # of a design effect above 1; below it, order carries no information


class EntityThinner:
    """Lets through the first value of each entity in each tick.

    Which value is first does not depend on what it is, so what passes is still a fair
    sample of entities.  Used by one thread; forgets everything when a tick begins.
    """

    def __init__(self) -> None:
        self._tick = -1
        self._seen: set[str] = set()

    def first(self, entities: Sequence[str | None], tick: int) -> NDArray[np.bool_]:
        """Say which of the rows count; rows without an entity (None) all do."""
        if tick != self._tick:
            self._tick, self._seen = tick, set()
        passes = np.ones(len(entities), bool)
        for row, entity in enumerate(entities):
            if entity is None:
                continue
            passes[row] = entity not in self._seen
            self._seen.add(entity)
        return passes


def design_effect(codes: NDArray[np.intp], *, block_rows: int = BLOCK_ROWS) -> float:
    """Estimate by how much ``codes``, in order of time, vary more than independent ones.

    The variance of block means of the indicators ``code <= c`` over what it would be if values
    were independent, the largest over the deciles.  What is returned is an upper bound of it;
    1 where it does not differ significantly from 1, or there are too few blocks to tell.

    Source: Kish (1965), Survey Sampling, section 8.2, for the effect; the bounds are those of
    a normal variance.
    """
    blocks = len(codes) // block_rows
    if blocks < BLOCKS_MIN:
        return 1.0
    whole = codes[: blocks * block_rows]
    worst = 1.0
    for code in np.unique(np.quantile(whole, np.linspace(0.1, 0.9, 9), method="lower")):
        hits = whole <= code
        share = float(hits.mean())
        if 0 < share < 1:
            means = hits.reshape(blocks, block_rows).mean(axis=1)
            worst = max(worst, float(means.var(ddof=1)) * block_rows / (share * (1 - share)))
    freedom = blocks - 1
    # Nine indicators were looked at; they are correlated, and Bonferroni is on the safe side.
    if worst * freedom <= chdtri(freedom, SIGNIFICANCE / 9):
        return 1.0
    return max(1.0, worst * freedom / float(chdtri(freedom, 0.95)))
