"""What one explored decision costs on the hot path: from the model's scores to the record's bytes.

    python bench/exploration_cost.py        # about half a minute; one core, nothing else running

Three stages, timed apart: reading the tensors of a request as a question, deciding (gates,
distribution, draw, propensities), and writing down what a replay needs.  No I/O.  Target T2:
a slate of 10 from 1,000 candidates in 150 us at the median and 500 us at the 99th percentile,
from 100 in 80 us.
"""

import argparse
import json
import time
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from results import write

from gateway.serving.chooser import Chooser
from gateway.serving.explored import exploration_of
from gateway.serving.questions import NOTHING_ASKED
from guards.explore.settings import SingleExplore, SlateExplore, ThresholdExplore
from models.manifest import Manifest
from models.signature import Signature, TensorSpec

SALT = b"the salt of the benchmarks"
SLOTS = 10
CANDIDATES = (10, 100, 1_000, 10_000)
MIXTURE = {
    "kind": "mixture",
    "parts": [
        {"share": 0.98, "policy": {"kind": "plackett_luce", "tau": 0.1}},
        {"share": 0.02, "policy": {"kind": "uniform_bucket", "share": 1.0}},
    ],
}
SLATES: dict[str, dict[str, Any]] = {
    "greedy": {"policy": {"kind": "greedy"}},
    "epsilon_greedy": {"policy": {"kind": "epsilon_greedy"}},
    "plackett_luce": {"policy": {"kind": "plackett_luce", "tau": 0.1}},
    "plackett_luce + bucket 2%": {"policy": MIXTURE},
    "plackett_luce, regret capped": {
        "policy": {"kind": "plackett_luce", "tau": 0.1},
        "max_expected_regret": 0.1,
    },
    "swap_pairs": {"policy": {"kind": "greedy"}, "swap_pairs": {}},
}
SINGLES: dict[str, dict[str, Any]] = {
    "epsilon_greedy": {"kind": "epsilon_greedy"},
    "softmax": {"kind": "softmax", "tau": 0.5},
    "squarecb": {"kind": "squarecb", "gamma": 10.0},
}
TARGETS_US = {1_000: (150.0, 500.0), 100: (80.0, np.inf)}  # median, 99th percentile


def chooser_of(explore: Any, *, columns: int, ids: bool) -> Chooser:
    """Make what a replica holds of a version, without a model."""
    inputs = [TensorSpec(name="features", datatype="FP32", shape=(-1, 4))]
    if ids:
        inputs.append(TensorSpec(name="item", datatype="INT64", shape=(-1,), role="context"))
    signature = Signature(
        inputs=tuple(inputs),
        outputs=(TensorSpec(name="score", datatype="FP32", shape=(-1, columns), role="scores"),),
    )
    manifest = Manifest.model_validate(
        {
            "name": "timed",
            "version": "1",
            "runtime": {"kind": "onnx", "file": "model.onnx"},
            "signature": signature.model_dump(),
            "explore": explore.model_dump(),
        }
    )
    return Chooser(manifest, SALT)


def time_one(
    chooser: Chooser, requests: list[tuple[dict[str, NDArray[Any]], NDArray[Any]]], repeats: int
) -> dict[str, Any]:
    """Time the stages of single requests, in us."""
    took: list[tuple[float, float, float]] = []
    size = 0
    encoder = msgspec.msgpack.Encoder()
    for at in range(repeats + 50):
        inputs, scores = requests[at % len(requests)]
        name = f"{at:032x}"
        start = time.perf_counter()
        part = chooser.part(
            name, NOTHING_ASKED, inputs, {"score": scores}, guarded=None, closed=None
        )
        assert part is not None
        read = time.perf_counter()
        [decided] = chooser.choose([part])
        made = time.perf_counter()
        body = encoder.encode(exploration_of(decided, chooser))
        end = time.perf_counter()
        size = len(body)
        if at >= 50:  # the first ones warm caches
            took.append((read - start, made - read, end - made))
    stages = np.array(took) * 1e6
    whole = stages.sum(axis=1)
    middle = np.median(stages, axis=0)
    return {
        "p50_us": round(float(np.median(whole)), 1),
        "p99_us": round(float(np.percentile(whole, 99)), 1),
        "read_us": round(float(middle[0]), 1),
        "decide_us": round(float(middle[1]), 1),
        "record_us": round(float(middle[2]), 1),
        "record_bytes": size,
    }


def slates(random: np.random.Generator, repeats: int) -> dict[str, Any]:
    """Time slates of `SLOTS` by number of candidates and policy."""
    found: dict[str, Any] = {}
    for n in CANDIDATES:
        requests = [
            ({"item": random.permutation(n)}, random.normal(size=(n, 1)).astype(np.float32))
            for _ in range(20)
        ]
        found[f"{n} candidates"] = {
            name: time_one(
                chooser_of(
                    SlateExplore.model_validate({"ids": "item", "slots": SLOTS} | more),
                    columns=1,
                    ids=True,
                ),
                requests,
                repeats if n < 10_000 else repeats // 4,
            )
            for name, more in SLATES.items()
        }
    return found


def rows(random: np.random.Generator, repeats: int) -> dict[str, Any]:
    """Time requests of one row and of 32, each row a decision over ten columns or an approval."""
    found: dict[str, Any] = {}
    for count in (1, 32):
        wide = [({}, random.normal(size=(count, 10)).astype(np.float32)) for _ in range(20)]
        found[f"{count} rows"] = {
            name: time_one(
                chooser_of(SingleExplore.model_validate({"policy": one}), columns=10, ids=False),
                wide,
                repeats,
            )
            for name, one in SINGLES.items()
        }
        narrow: list[Any] = [({}, scores[:, :1]) for _, scores in wide]
        approve = ThresholdExplore(threshold=0.0, hard_stop=9.0)
        found[f"{count} rows"]["approve"] = time_one(
            chooser_of(approve, columns=1, ids=False), narrow, repeats
        )
    return found


def targets(found: dict[str, Any]) -> dict[str, Any]:
    """Hold the Plackett-Luce slates against T2."""
    told = {}
    for n, (p50_us, p99_us) in TARGETS_US.items():
        case = found[f"{n} candidates"]["plackett_luce"]
        told[f"T2, {n} candidates"] = {
            "target": {"p50_us": p50_us} | ({"p99_us": p99_us} if p99_us < np.inf else {}),
            "found": {"p50_us": case["p50_us"], "p99_us": case["p99_us"]},
            "holds": bool(case["p50_us"] <= p50_us and case["p99_us"] <= p99_us),
        }
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=2_000)
    asked = parser.parse_args()
    random = np.random.default_rng(asked.seed)
    ranked = slates(random, asked.repeats)
    figures = {
        "targets": targets(ranked),
        "slates": ranked,
        "rows": rows(random, asked.repeats),
    }
    path = write(__file__, seed=asked.seed, figures=figures)
    print(json.dumps(figures["targets"], indent=1))
    print(path)


if __name__ == "__main__":
    main()
