"""T5 and T6: do intervals cover, and which estimator is how far off?"""

from typing import Any

import numpy as np

from guards.quality.offpolicy.anytime import asymptotic_sequence
from guards.quality.offpolicy.asymptotic import asymptotic
from guards.quality.offpolicy.bernstein import empirical_bernstein
from guards.quality.offpolicy.betting import betting
from guards.quality.offpolicy.diagnostics import diagnose
from guards.quality.offpolicy.doubly_robust import direct, dr, dros, switch_dr
from guards.quality.offpolicy.estimate import Estimate
from guards.quality.offpolicy.importance import clipped, ips, snips
from simulations.bandit import BanditWorld, Log

CELLS = ((2_000, 0.10), (10_000, 0.10), (10_000, 0.02), (15_000, 0.10), (50_000, 0.05))
DECIDING = ("ips", "snips", "dr")
LOOKS = 20
STRICT_RUNS = 40  # of the wide intervals, whose coverage is near 1


def estimates(log: Log) -> dict[str, Estimate]:
    """Every estimator on one log."""
    found = (
        ips(log.data),
        snips(log.data),
        dr(log.data, log.predictions),
        switch_dr(log.data, log.predictions, limit=10),
        dros(log.data, log.predictions, shrinkage=100),
        direct(log.data, log.predictions),
        clipped(log.data, limit=np.sqrt(len(log.data)) / 2),
    )
    return {estimate.estimator: estimate for estimate in found}


def cell(world: BanditWorld, n: int, epsilon: float, *, runs: int, seed: int) -> dict[str, Any]:
    """Errors relative to the truth, and coverage of 95 % intervals, over ``runs`` logs."""
    off: dict[str, list[float]] = {}
    covered: dict[str, list[bool]] = {}
    effective = []
    for run in range(runs):
        log = world.log(n, epsilon=epsilon, random=np.random.default_rng([seed, n, run]))
        effective.append(diagnose(log.data).effective_rows)
        for name, estimate in estimates(log).items():
            off.setdefault(name, []).append(estimate.value - world.truth)
            covered.setdefault(name, []).append(world.truth in asymptotic(estimate))
        if run < STRICT_RUNS:
            terms = log.data.weights * log.data.rewards
            hard = empirical_bernstein(terms, width=10 / epsilon)
            covered.setdefault("ips, empirical Bernstein", []).append(world.truth in hard)
            covered.setdefault("betting", []).append(world.truth in betting(log.data))
    error = {
        name: float(np.sqrt(np.mean(np.square(gaps)))) / world.truth for name, gaps in off.items()
    }
    return {
        "rows": n,
        "epsilon": epsilon,
        "effective_rows": float(np.mean(effective)),
        "relative_error": error,
        "coverage": {name: float(np.mean(inside)) for name, inside in covered.items()},
        "dr / snips": error["dr"] / error["snips"],
        "dr / ips": error["dr"] / error["ips"],
    }


def simultaneous(world: BanditWorld, *, runs: int, seed: int, n: int = 10_000) -> float:
    """Share of runs in which the anytime interval of DR held the truth at all 20 looks."""
    held = 0
    for run in range(runs):
        log = world.log(n, epsilon=0.1, random=np.random.default_rng([seed, 99, run]))
        whole = dr(log.data, log.predictions)
        looks = np.linspace(n / LOOKS, n, LOOKS).astype(int)
        held += all(
            world.truth in asymptotic_sequence(_first(whole, look), planned_units=n)
            for look in looks
        )
    return held / runs


def _first(estimate: Estimate, rows: int) -> Estimate:
    terms = estimate.terms[:rows]
    return Estimate(estimate.estimator, float(terms.mean()), terms - terms.mean())


def measure(*, runs: int, seed: int) -> dict[str, Any]:
    """All cells, the many looks, and whether the targets hold."""
    world = BanditWorld(seed)
    cells = [cell(world, n, epsilon, runs=runs, seed=seed) for n, epsilon in CELLS]
    enough = [c for c in cells if c["effective_rows"] >= 400]
    looks = simultaneous(world, runs=runs, seed=seed)
    return {
        "runs": runs,
        "truth": world.truth,
        "cells": cells,
        "anytime DR, all 20 looks": looks,
        "targets": {
            "T5 coverage >= .92 where effective rows >= 400": {
                "found": min(c["coverage"][name] for c in enough for name in DECIDING),
                "holds": all(c["coverage"][name] >= 0.92 for c in enough for name in DECIDING),
            },
            "T5 anytime >= .95 over 20 looks": {"found": looks, "holds": looks >= 0.95},
            "T6 dr <= 1.0 x snips and <= .8 x ips in every cell": {
                "found": [max(c["dr / snips"] for c in cells), max(c["dr / ips"] for c in cells)],
                "holds": all(c["dr / snips"] <= 1.0 and c["dr / ips"] <= 0.8 for c in cells),
            },
        },
    }
