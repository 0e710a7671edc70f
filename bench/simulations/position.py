"""T12: how well is the examination of positions recovered from 50,000 swapped lists?"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.explore.swap import swap_orders
from guards.quality.position import PositionCounts, examination

SLOTS = 10
REQUESTS = 50_000
THETA = np.arange(1, SLOTS + 1) ** -0.7
FIRST = 5  # positions that are judged
APPEALS = {"mean appeal .45": 0.9, "mean appeal .22": 0.45}  # top of the Beta(2, 2) appeals


def lists(
    random: np.random.Generator, *, top: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Draw FairPairs orders of lists whose best items come first, and clicks on them."""
    appeal = -np.sort(-random.beta(2, 2, (REQUESTS, SLOTS)), axis=1) * top
    orders, p = swap_orders(SLOTS, "fair_pairs")
    ranks = orders[random.choice(len(orders), REQUESTS, p=p)]
    seen = THETA * np.take_along_axis(appeal, ranks, axis=1)
    return ranks, random.uniform(size=ranks.shape) < seen


def measure(*, runs: int, seed: int) -> dict[str, Any]:
    """Relative errors of the first five positions, over repeated experiments."""
    figures: dict[str, Any] = {"runs": runs, "requests": REQUESTS}
    targets = {}
    for name, top in APPEALS.items():
        off = np.array(
            [
                examination(
                    PositionCounts.count(*lists(np.random.default_rng([seed, run]), top=top))
                )
                / THETA
                - 1
                for run in range(runs)
            ]
        )[:, :FIRST]
        within = float((np.abs(off).max(axis=1) <= 0.05).mean())
        figures[name] = {
            "standard deviation": off.std(axis=0).tolist(),
            "bias": off.mean(axis=0).tolist(),
            "runs with all five within 5 %": within,
        }
        targets[f"T12 within 5 %, {name}"] = {"found": within, "holds": within >= 0.95}
    return {**figures, "targets": targets}
