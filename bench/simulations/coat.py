"""T9: ratings missing not at random, corrected by their propensities.

Coat (Schnabel et al. 2016): 290 people rated 24 coats they chose themselves, and 16 that were
drawn for them.  The mean of the former is too high; corrected, it is compared with the latter.
"""

from pathlib import Path
from typing import Any

import numpy as np

from guards.quality.offpolicy.importance import ips, snips
from guards.quality.offpolicy.logged import LoggedData


def measure(folder: Path) -> dict[str, Any]:
    """Share of the naive mean's bias that IPS and SNIPS take away."""
    chosen, drawn, p = (
        np.loadtxt(folder / f"{name}.ascii") for name in ("train", "test", "propensities")
    )
    rated = chosen > 0
    truth, naive = float(drawn[drawn > 0].mean()), float(chosen[rated].mean())
    # The target is to see every cell: SNIPS averages by 1/p, IPS divides by all cells.
    data = LoggedData(chosen[rated], p[rated], np.ones(int(rated.sum())))
    corrected = {
        "ips": ips(data).value * rated.sum() / rated.size,
        "snips": snips(data).value,
    }
    removed = {
        name: 1 - abs(value - truth) / abs(naive - truth) for name, value in corrected.items()
    }
    return {
        "random truth": truth,
        "naive": naive,
        **corrected,
        "removed": removed,
        "targets": {
            "T9 SNIPS removes >= .70 of the bias": {
                "found": removed["snips"],
                "holds": removed["snips"] >= 0.7,
            }
        },
    }
