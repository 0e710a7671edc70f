"""What holding rows against the feature contract costs, by what the contract says.

On one thread, microseconds for 1 and 32 rows: rows that keep it, and one row of each batch that
breaks it, with the reason and the repair.  Run: ``python bench/schema_cost.py``.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from results import write

from guards.contract.feature import Feature, TextLimits
from guards.contract.rules import Rule, Texts
from guards.schema import OnViolation, SchemaGuard, SchemaSettings
from guards.verdict import Rows

SEED = 0
SIZES = (1, 32)
CALLS = 4000  # of one row; of more rows fewer, so that each size takes as long
DISTINCT = 50  # batches that take turns: one batch alone would stay in the cache
NUMBERS = tuple(Feature(name=f"n{i}", low=-9, high=9, default=0) for i in range(30))
KINDS = tuple(
    Feature(name=f"n{i}", kind="integer", low=-9, high=9, default=0)
    if i % 3 == 0
    else Feature(name=f"n{i}", categories=tuple(range(-9, 10)), default=0)
    for i in range(30)
)
RULES = tuple(
    Rule.model_validate({"left": f"n{i}", "is": "<=", "right": f"n{i + 1}", "tolerance": 99})
    for i in range(5)
)
WORDS = tuple(
    Feature(name=f"w{i}", categories=("clerk", "smith", "baker"), default="clerk") for i in range(5)
)
TEXT = Feature(
    name="w5", kind="text", text=TextLimits(longest=200, scripts=("LATIN",), repetition=0.9)
)
PIXELS = Feature(name="image", count=784, kind="image", low=-9, high=9, contrast=1)
IMPUTE = OnViolation(range="impute", type="impute", category="impute")
SENTENCE = b"Three hundred and forty-two people have asked for the price of a house by the sea."

CONTRACTS: dict[str, SchemaSettings] = {
    "30 numbers": SchemaSettings(features=NUMBERS),
    "30 numbers, 10 of them whole and 20 categories": SchemaSettings(features=KINDS),
    "30 numbers, 5 rules": SchemaSettings(features=NUMBERS, rules=RULES),
    "30 numbers, 5 words": SchemaSettings(features=(*NUMBERS, *WORDS)),
    "30 numbers, 5 words, a text of 82 characters": SchemaSettings(
        features=(*NUMBERS, *WORDS, TEXT)
    ),
    "784 pixels": SchemaSettings(features=(PIXELS,)),
}


def draw(settings: SchemaSettings, rows: int, rng: np.random.Generator) -> tuple[Rows, Texts]:
    """Draw rows that keep every contract above."""
    features = settings.features
    width = sum(feature.count for feature in features if not feature.is_text)
    numbers = rng.integers(-9, 10, (rows, width)).astype(np.float32)
    texts = {
        feature.name: np.array([[SENTENCE if feature is TEXT else b"smith"]] * rows, object)
        for feature in features
        if feature.is_text
    }
    return numbers, texts


def spoilt(batch: tuple[Rows, Texts]) -> tuple[Rows, Texts]:
    """Let one value of the first row break the contract."""
    rows = batch[0].copy()
    rows[0, 0] = 100
    return rows, batch[1]


def timed(
    check: Callable[[Rows, Texts], Any], batches: list[tuple[Rows, Texts]], *, calls: int
) -> dict[str, float]:
    """Time single calls, in microseconds."""
    for batch in batches:
        check(*batch)
    times = []
    for at in range(calls):
        batch = batches[at % len(batches)]
        began_ns = time.perf_counter_ns()
        check(*batch)
        times.append((time.perf_counter_ns() - began_ns) / 1000)
    return {
        "p50_us": round(float(np.median(times)), 1),
        "p99_us": round(float(np.quantile(times, 0.99)), 1),
        "p50_us_per_row": round(float(np.median(times)) / len(batches[0][0]), 2),
    }


def main() -> None:
    found: dict[str, Any] = {}
    for name, settings in CONTRACTS.items():
        imputes = all(feature.default is not None for feature in settings.features)
        on = IMPUTE if imputes else OnViolation()
        guard = SchemaGuard(settings.model_copy(update={"on_violation": on}))
        rng = np.random.default_rng(SEED)
        found[name] = {}
        for size in SIZES:
            kept = [draw(settings, size, rng) for _ in range(DISTINCT)]
            broken = [spoilt(batch) for batch in kept]
            calls = CALLS // size + 200
            for what, batches in (("kept", kept), ("one row broken", broken)):
                clear = all(guard.check(*batch).is_clear for batch in batches)
                assert clear == (what == "kept"), name
                found[name][f"{size} rows, {what}"] = timed(guard.check, batches, calls=calls)
    print(json.dumps(found, indent=1))
    print(write(__file__, seed=SEED, figures=found))


if __name__ == "__main__":
    main()
