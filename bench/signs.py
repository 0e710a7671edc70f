"""What the outlier guard does for a network that reads signs in weather it has never seen.

Every image goes through the gateway's own path (`in_process`).  Where the guard flags a row its
answer is not used: what is right among the others is compared with what is right without the guard.
Run: ``python bench/signs.py``.
"""

import argparse
import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from in_process import InProcessModel
from numpy.typing import NDArray
from results import write

from guards.outlier.guard import OutlierSettings
from guards.stress.rate import Rate
from models.bundle import Bundle
from models.examples.sign_images import WEATHER, Images, draw_signs, spoil
from models.examples.signs import NAME, build_signs
from models.signing import SigningKey

SEED = 7
SEVERITIES = tuple(round(0.1 * step, 1) for step in range(11))
REQUEST_ROWS = 100
LESS_SURE = 0.9  # a wrong answer at least this sure says nothing of its being wrong


@dataclass(frozen=True, slots=True)
class Read:
    """What came back for some images."""

    is_right: NDArray[np.bool_]
    is_flagged: NDArray[np.bool_]
    sureness: NDArray[np.float64]


async def read(model: InProcessModel, images: Images, kinds: NDArray[np.int64], name: str) -> Read:
    """Ask for all images, as many per request as `REQUEST_ROWS`."""
    right, flagged, sure = [], [], []
    for start in range(0, len(images), REQUEST_ROWS):
        rows = slice(start, start + REQUEST_ROWS)
        answer = await model.infer(f"{name}-{start}", {"image": images[rows]})
        probabilities = answer.outputs["probabilities"]
        right.append(probabilities.argmax(axis=1) == kinds[rows])
        flagged.append(answer.verdicts.actions > 0)
        sure.append(probabilities.max(axis=1))
    return Read(np.concatenate(right), np.concatenate(flagged), np.concatenate(sure))


def told(found: Read) -> dict[str, Any]:
    """Compare with the guard and without."""
    is_silent = ~found.is_right & ~found.is_flagged
    is_sure = ~found.is_right & (found.sureness >= LESS_SURE)
    passed = found.is_right[~found.is_flagged]
    return {
        "accuracy without the guard": share(found.is_right),
        "flagged": share(found.is_flagged),
        "let through": len(passed),
        "accuracy of what was let through": share(passed),
        "wrong and not flagged": share(is_silent),
        "wrong, sure, and not flagged": share(is_sure & is_silent),
        "wrong and sure": share(is_sure),
    }


def share(rows: NDArray[np.bool_]) -> float | None:
    return round(float(rows.mean()), 4) if len(rows) else None


def summarise(cells: dict[str, dict[str, Any]], promised: float) -> dict[str, Any]:
    """Tell where the model begins to fail, and what the guard says there."""
    failing = [s for s, cell in cells.items() if cell["accuracy without the guard"] < promised]
    flagging = [s for s, cell in cells.items() if cell["flagged"] >= 0.5]
    wrong = sum(1 - cells[s]["accuracy without the guard"] for s in failing)
    silent = sum(cells[s]["wrong and not flagged"] for s in failing)
    return {
        "accuracy below the promise from severity": failing[0] if failing else None,
        "half of the rows flagged from severity": flagging[0] if flagging else None,
        "flagged where it first is below": cells[failing[0]]["flagged"] if failing else None,
        "share of wrong answers flagged, where it is below": round(1 - silent / wrong, 4)
        if failing
        else None,
    }


async def weather(bundle: Bundle, count: int) -> dict[str, Any]:
    model = InProcessModel(NAME)
    await model.deploy(bundle)
    rng = np.random.default_rng(SEED)
    clear, kinds = draw_signs(max(4 * count, 4000), rng)
    ordinary = await read(model, clear, kinds, "clear")
    alarms = Rate.of(int(ordinary.is_flagged.sum()), len(kinds))
    settings = bundle.manifest.guards.outlier
    assert isinstance(settings, OutlierSettings)
    promised = bundle.manifest.expectations.accuracy
    assert promised is not None
    cells: dict[str, dict[str, dict[str, Any]]] = {}
    for name in WEATHER:
        cells[name] = {}
        for severity in SEVERITIES:
            images, kinds = draw_signs(count, rng)
            spoilt = spoil(images, name, rng, severity=severity)
            found = await read(model, spoilt, kinds, f"{name}-{severity}")
            cells[name][f"{severity:g}"] = told(found)
    return {
        "alpha": settings.alpha,
        "delta": settings.delta,
        "clear": told(ordinary) | {"false alarms, 95 % interval": [alarms.low, alarms.high]},
        "promised accuracy": promised,
        "weather": {name: summarise(found, promised) for name, found in cells.items()},
        "by severity": cells,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1000, help="images per weather and severity")
    rows = parser.parse_args().rows
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        bundle = build_signs(Path(out), SigningKey.create()).bundle
        trained = time.perf_counter()
        figures = asyncio.run(weather(bundle, rows))
    figures |= {
        "training seconds": round(trained - began, 1),
        "seconds": round(time.perf_counter() - began, 1),
    }
    write(__file__, seed=SEED, figures=figures)
    print(figures["clear"])
    for name, found in figures["weather"].items():
        print(name, found)


if __name__ == "__main__":
    main()
