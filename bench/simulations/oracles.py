"""T4: do the estimates agree with what others compute from the same log?

The published Open Bandit log with its reference values, VowpalWabbit's own progressive
loss of a uniform policy over a dsjson log, and vw-estimators.  The last two live in the
development extra.
"""

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from guards.quality.offpolicy.betting import betting
from guards.quality.offpolicy.diagnostics import diagnose
from guards.quality.offpolicy.importance import ips, snips
from guards.quality.offpolicy.logged import LoggedData
from guards.quality.offpolicy.slate import SlateData
from guards.quality.offpolicy.slate_estimators import pseudo_inverse
from simulations.bandit import ACTIONS, BanditWorld

ROWS = 2_000


def golden(folder: Path) -> dict[str, float]:
    """Relative distance from the reference values of the random men's log."""
    reference = json.loads((folder / "golden_men.json").read_text())
    with (folder / "men_random.csv").open() as file:
        rows = list(csv.DictReader(file))
    items = [int(row["item_id"]) for row in rows]
    positions = [int(row["position"]) - 1 for row in rows]
    data = LoggedData(
        np.array([float(row["click"]) for row in rows]),
        np.array([float(row["propensity_score"]) for row in rows]),
        np.array(reference["action_dist"])[items, positions],
    )
    ours = {
        "ipw": ips(data).value,
        "snipw": snips(data).value,
        "ess": diagnose(data).effective_rows,
    }
    return {name: abs(value / reference[name] - 1) for name, value in ours.items()}


def vw_estimators(seed: int) -> dict[str, float]:
    """Largest distance from vw-estimators, estimator by estimator."""
    from estimators.bandits import cs
    from estimators.bandits import ips as other_ips
    from estimators.bandits import snips as other_snips
    from estimators.slates import pseudo_inverse as other_pseudo_inverse

    random = np.random.default_rng([seed, 4])
    data = BanditWorld(seed).log(ROWS, epsilon=0.2, random=random).data
    others = other_ips.Estimator(), other_snips.Estimator(), cs.Interval()
    columns = (data.propensities, data.rewards, data.target)
    for p, r, target in zip(*(column.tolist() for column in columns), strict=True):
        for other in others:
            other.add_example(p, r, target)
    logging, target = random.uniform(0.1, 1, (2, ROWS, 3))
    slates = SlateData(random.uniform(size=(ROWS, 3)), logging, target, factored=True)
    product = other_pseudo_inverse.Estimator()
    totals = slates.rewards.sum(axis=1).tolist()
    for p, r, q in zip(logging.tolist(), totals, target.tolist(), strict=True):
        product.add_example(p, r, q)
    ours, theirs = betting(data), others[2].get(0.05)
    return {
        "ips": abs(ips(data).value - others[0].get()),
        "snips": abs(snips(data).value - others[1].get()),
        "betting": max(abs(ours.low - theirs[0]), abs(ours.high - theirs[1])),
        "pseudo_inverse": abs(pseudo_inverse(slates).value - product.get()),
    }


def vowpal_wabbit(seed: int) -> dict[str, float]:
    """Distance of our IPS of the uniform policy from VW's loss over the same dsjson log."""
    import vowpalwabbit

    random = np.random.default_rng([seed, 5])
    data = BanditWorld(seed).log(ROWS, epsilon=0.5, random=random).data
    actions = random.integers(0, ACTIONS, ROWS)  # which of them is served does not matter here
    lines = [
        json.dumps(_dsjson(i, int(a), float(r), float(p)))
        for i, (a, r, p) in enumerate(zip(actions, data.rewards, data.propensities, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.json"
        log.write_text("\n".join(lines) + "\n")
        # epsilon 1 and nothing learned: the loss is that of the uniform policy by IPS.
        workspace = vowpalwabbit.Workspace(
            f"--dsjson -d {log} --cb_explore_adf --epsilon 1 --cb_type ips -l 0 --quiet"
        )
        loss = float(workspace.get_sum_loss()) / ROWS
        workspace.finish()
    uniform = LoggedData(data.rewards, data.propensities, np.full(ROWS, 1 / ACTIONS))
    return {"vw": -loss, "ours": ips(uniform).value, "distance": abs(ips(uniform).value + loss)}


def _dsjson(row: int, action: int, reward: float, p: float) -> dict[str, Any]:
    others = [a for a in range(ACTIONS) if a != action]
    rest = (1 - p) / len(others)
    return {
        "_label_cost": -reward,
        "_label_probability": p,
        "_label_Action": action + 1,
        "_labelIndex": action,
        "Version": "1",
        "EventId": str(row),
        "a": [a + 1 for a in (action, *others)],
        "p": [p] + [rest] * len(others),
        "c": {"_multi": [{"i": {"id": str(a)}} for a in range(ACTIONS)]},
    }


def measure(*, seed: int, obd: Path) -> dict[str, Any]:
    """All oracles that are there."""
    figures: dict[str, Any] = {
        "vw-estimators": vw_estimators(seed),
        "vowpalwabbit": vowpal_wabbit(seed),
    }
    others = max(figures["vw-estimators"].values())
    vw = figures["vowpalwabbit"]["distance"]
    targets = {
        "T4 vw-estimators to 1e-9": {"found": others, "holds": others <= 1e-9},
        "T4 vowpalwabbit to 1e-6": {"found": vw, "holds": vw <= 1e-6},
    }
    if obd.exists():
        figures["golden"] = golden(obd)
        found = max(figures["golden"].values())
        targets["T4 golden men to 1e-12"] = {"found": found, "holds": found <= 1e-12}
    return {**figures, "targets": targets}
