"""T10: ten in a hundred explored choices silently replaced; how soon does somebody notice?"""

from typing import Any

import numpy as np

from guards.quality.loop.override import OverrideMonitor

EXPLORED = 0.09  # epsilon 0.1 over ten actions
BATCH = 500
WITHIN = 20_000
MONTH = 300_000  # decisions: one every nine seconds


def first_alarm(
    random: np.random.Generator, *, explored: float, overridden: float, decisions: int
) -> int | None:
    """Feed a monitor until it sounds, or ``decisions`` have passed."""
    monitor = OverrideMonitor.start()
    p = np.full(BATCH, explored)
    while monitor.decisions < decisions:
        shown = random.uniform(size=BATCH) < explored * (1 - overridden)
        monitor = monitor.observe(shown, p)
        if monitor.alarm():
            return monitor.decisions
    return None


def measure(*, runs: int, seed: int) -> dict[str, Any]:
    """Power within 20,000 decisions, by share explored, and false alarms of a month."""
    power = {}
    for explored in (0.05, EXPLORED, 0.2):
        alarms = [
            first_alarm(
                np.random.default_rng([seed, run]),
                explored=explored,
                overridden=0.1,
                decisions=WITHIN,
            )
            for run in range(runs)
        ]
        heard = [at for at in alarms if at is not None]
        power[f"explored {explored:g}"] = {
            "power": len(heard) / runs,
            "median decisions": float(np.median(heard)) if heard else None,
        }
    false = sum(
        first_alarm(
            np.random.default_rng([seed, 1, run]), explored=EXPLORED, overridden=0, decisions=MONTH
        )
        is not None
        for run in range(runs)
    )
    found = float(power[f"explored {EXPLORED:g}"]["power"] or 0)
    return {
        "runs": runs,
        "10 % overridden": power,
        "false alarms in a month of 300,000 decisions": false / runs,
        "targets": {
            "T10 power >= .9 within 20,000": {"found": found, "holds": found >= 0.9},
            "T10 false alarms <= .01 a month": {
                "found": false / runs,
                "holds": false / runs <= 0.01,
            },
        },
    }
