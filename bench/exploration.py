"""Is exploration exact, are the estimates right, and does it stop the loop?

    python bench/exploration.py                                   # everything, about 4 minutes
    python bench/exploration.py --sections catalogue --seed 1000  # other worlds

Every section compares what it finds with the targets of the design (T3 ... T14); `targets` of
the result lists them all.  The cost of a decision (T2) is in `bench/exploration_cost.py`, the
matrix of faults (T11) in `tests/`.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from results import write
from simulations import (
    coat,
    credit,
    intervals,
    loop,
    marginals,
    oracles,
    override,
    position,
)

DATA = Path(__file__).parents[1] / "../shared/data"
Section = Callable[[argparse.Namespace], dict[str, Any]]

SECTIONS: dict[str, Section] = {
    "marginals": lambda a: marginals.measure(seed=a.seed, repeats=5),
    "oracles": lambda a: oracles.measure(seed=a.seed, obd=DATA / "obd"),
    "intervals": lambda a: intervals.measure(runs=a.runs, seed=a.seed),
    "catalogue": lambda a: loop.measure(seeds=a.seeds, seed=a.seed),
    "credit": lambda a: credit.measure(
        DATA / "uci_credit_default.csv", seeds=max(1, a.seeds // 2), seed=a.seed
    ),
    "coat": lambda a: coat.measure(DATA / "coat"),
    "override": lambda a: override.measure(runs=a.runs, seed=a.seed),
    "position": lambda a: position.measure(runs=max(1, a.runs // 4), seed=a.seed),
}
NEEDS = {"credit": DATA / "uci_credit_default.csv", "coat": DATA / "coat"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="first seed of every section")
    parser.add_argument("--seeds", type=int, default=20, help="worlds of the catalogue")
    parser.add_argument("--runs", type=int, default=400, help="repeated experiments")
    parser.add_argument("--sections", default=",".join(SECTIONS), help="comma-separated")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"targets": {}}
    for name in arguments.sections.split(","):
        if name in NEEDS and not NEEDS[name].exists():
            figures[name] = {"skipped": f"{NEEDS[name].name} is not beside the project"}
            continue
        start = time.perf_counter()
        found = SECTIONS[name](arguments)
        figures["targets"].update(found.pop("targets"))
        figures[name] = {**found, "took_s": round(time.perf_counter() - start, 1)}
        print(f"{name}: {figures[name]['took_s']:g} s", flush=True)
    print(json.dumps(figures["targets"], indent=1))
    write(__file__, seed=arguments.seed, figures=figures)


if __name__ == "__main__":
    main()
