"""T7 and T14: what exploration is worth in the catalogue, and when the loop alarm sounds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.quality.loop.alarm import (
    judge_calibration,
    judge_loop,
    judge_newcomers,
)
from guards.quality.loop.calibration import Excess
from guards.quality.loop.exposure import Exposure, coverage, found, gini
from guards.quality.loop.settings import LoopSettings
from models.examples.catalogue import Catalogue, Size
from simulations.catalogue import Round, simulate, totals
from simulations.slates import ARMS

STEADY = 15  # last rounds, which are reported
COVERED = 50  # impressions
RANDOM_SEEDS = 4  # of the arm that serves anything; it is only a yardstick
ALARMED_BY = 15


def run_arm(name: str, seed: int) -> dict[str, float | None]:
    """Run one arm in the world of one seed."""
    world = Catalogue.of_seed(seed, Size())
    rounds = simulate(world, ARMS[name], seed=seed)
    last = rounds[-STEADY:]
    items = world.size.items
    old = world.born <= world.size.rounds - STEADY  # there in all of the last rounds
    recent = _exposure(totals(last, items)[old])
    ever = _exposure(totals(rounds, items))
    return {
        "gini": gini(recent),
        "coverage": coverage(recent, least=COVERED),
        "found": found(world.good_newcomers(until=world.size.rounds - STEADY), ever, least=COVERED),
        "value": _share(last, "served", "oracle"),
        "cost": 1 - _share(last, "served", "exploit"),
        "cumulative": _share(rounds, "served", "oracle"),
        "alarm": alarm_round(world, rounds),
    }


def _exposure(impressions: NDArray[np.int64]) -> Exposure:
    return Exposure(np.arange(len(impressions)), impressions, np.zeros_like(impressions))


def _share(rounds: list[Round], part: str, whole: str) -> float:
    return float(sum(getattr(r, part) for r in rounds) / sum(getattr(r, whole) for r in rounds))


def alarm_round(world: Catalogue, rounds: list[Round]) -> int | None:
    """Find the first round after which the loop alarm sounds, of default settings."""
    settings = LoopSettings()
    items = world.size.items
    reached = newcomers = 0
    for now in range(1, len(rounds) + 1):
        born = now - settings.patience + 1
        if born >= 1:
            seen = totals(rounds[born - 1 : now], items)[world.born == born]
            reached += int((seen >= settings.least).sum())
            newcomers += len(seen)
        last = rounds[now - 1]
        sounds = judge_loop(
            judge_newcomers(reached, newcomers, settings),
            judge_calibration(
                Excess.of(*last.chosen),
                Excess.of(*last.uniform),
                float(last.chosen[1].mean()) if len(last.chosen[1]) else 0.0,
                settings,
                windows=now,
            ),
        )
        if sounds.alarm:
            return now
    return None


def measure(*, seeds: int, seed: int) -> dict[str, Any]:
    """Run every arm on the same worlds; seeds are ``seed``, ``seed`` + 1, ..."""
    runs = {
        name: [
            run_arm(name, seed + i)
            for i in range(min(seeds, RANDOM_SEEDS) if name == "uniform" else seeds)
        ]
        for name in ARMS
    }
    arms = {name: _summary(rows) for name, rows in runs.items()}
    for name, rows in runs.items():
        if name not in ("greedy", "uniform"):
            for measured in ("value", "cumulative"):
                pairs = zip(rows, runs["greedy"], strict=True)
                gains = [explored[measured] - greedy[measured] for explored, greedy in pairs]
                arms[name][f"{measured}, wins over greedy"] = sum(gain > 0 for gain in gains)
                arms[name][f"{measured}, gain over greedy"] = float(np.mean(gains))
    return {"seeds": seeds, "first_seed": seed, "arms": arms, "targets": _targets(arms, seeds)}


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name == "alarm":
            summary["alarm by round 15"] = sum(v is not None and v <= ALARMED_BY for v in values)
            summary["alarm ever"] = sum(v is not None for v in values)
        else:
            summary[name] = [float(np.mean(values)), float(np.std(values))]
    return summary


def _targets(arms: dict[str, Any], seeds: int) -> dict[str, Any]:
    """Compare the means with what the design promised."""
    wanted = {
        "slot epsilon 5%": {"coverage": 0.80, "found": 0.85, "value": 0.83, "cost": 0.03},
        "plackett-luce": {"value": 0.89, "cost": 0.035},
        "plackett-luce + bucket 2%": {
            "value": 0.88,
            "coverage": 0.60,
            "found": 0.95,
            "cost": 0.045,
        },
    }
    targets: dict[str, Any] = {}
    for name, limits in wanted.items():
        means = {measured: arms[name][measured][0] for measured in limits}
        wins = arms[name]["value, wins over greedy"]
        targets[f"T7 {name}"] = {
            "wanted": {**limits, "wins": f">= {19 * seeds / 20:g} of {seeds}"},
            "found": {**means, "wins": wins},
            "holds": wins >= 19 * seeds / 20
            and all(
                means[m] <= limit if m == "cost" else means[m] >= limit
                for m, limit in limits.items()
            ),
        }
    greedy, directed = arms["greedy"]["alarm by round 15"], arms["plackett-luce"]["alarm ever"]
    targets["T14 alarm on greedy by round 15"] = {"found": greedy, "holds": greedy == seeds}
    targets["T14 silent on Plackett-Luce"] = {
        "found": directed,
        "holds": directed <= 0.05 * seeds,
    }
    return targets
