"""The pandemic comes: how soon is drift found, what is named, and when would labels have told?

    python bench/fraud.py                     # three streams, about 5 minutes
    python bench/fraud.py --seeds 1 --seed 7

Card transactions of `models/examples/transactions.py`, 2,000 a day, go one by one through versions,
guards, ONNX and record as in a replica (`in_process`): first with the habits that the model was
trained on, then with those after.  What the replica counts goes into the database, and the
evaluator's own monitors judge it every hour of the stream.  Labels arrive when the bank knows.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from in_process import InProcessModel
from numpy.typing import NDArray
from results import write

from gateway.evaluate.drift import DriftWatch
from gateway.evaluate.drift_report import MonitorReport
from gateway.record.traffic import TrafficTotal
from gateway.registry.database import open_database, reading
from gateway.registry.drift import DriftStore, read_findings
from guards.quality.confidence import confidence_sequence
from models.bundle import Bundle
from models.examples.fraud import NAME, build_fraud
from models.examples.transactions import DAY_S, FEATURES, Transactions, draw_transactions
from models.signing import SigningKey

PER_DAY = 2000
BEFORE_DAYS, AFTER_DAYS = 10, 30
TICK_S = 3600.0
AT_ONCE = 16  # requests in flight
ALPHA = 0.05
LADDER_MOST = 0.01  # answers of the fallback ladder; more would be judged in the model's place
# What the generator leaves as it was, but for the 2 % that are fraud.
UNCHANGED = ("amount_ratio", "account_age_days")


@dataclass(frozen=True)
class Asked:
    """What the gateway answered, one entry per transaction."""

    is_called_fraud: NDArray[np.bool_]
    confidence: NDArray[np.float64]  # of the called class
    is_strange: NDArray[np.bool_]
    served_by: Counter[str]


class Stream:
    """One gateway and its evaluator, over days that pass in seconds."""

    def __init__(self, bundle: Bundle, folder: Path, rng: np.random.Generator) -> None:
        self._bundle, self._rng = bundle, rng
        url = f"sqlite:///{folder}/drift.db"
        self._engine = open_database(url)
        self._store = DriftStore(url)
        self._now_s = 0.0
        self._watch = DriftWatch(
            self._store, lambda _: bundle, tick_s=TICK_S, clock_s=lambda: self._now_s
        )
        self._gateway = InProcessModel(NAME)
        self.raised: dict[str, MonitorReport] = {}  # by monitor, when first in alarm
        self.false_alarms: list[str] = []

    async def deploy(self) -> None:
        """Make the model live."""
        await self._gateway.deploy(self._bundle)

    async def ask(self, drawn: Transactions, *, is_drifting: bool) -> Asked:
        """Send transactions in their order, and end a tick every hour."""
        hours = (drawn.at_s // TICK_S).astype(int)
        answers: list[Any] = []
        for hour in np.unique(hours):
            for rows in np.split(*_sixteens(np.flatnonzero(hours == hour))):
                answers += await asyncio.gather(
                    *(
                        self._gateway.infer(f"{hour}/{row}", {"transaction": drawn.rows[[row]]})
                        for row in rows
                    )
                )
            self._gateway.records.take()
            self._end_tick((hour + 1) * TICK_S, is_drifting=is_drifting)
        served_by = Counter(a.served_by for a in answers)
        if served_by["model"] < (1 - LADDER_MOST) * len(answers):
            raise SystemExit(f"the machine is too busy to judge the model: {dict(served_by)}")
        probabilities = np.concatenate([a.outputs["probabilities"] for a in answers])
        return Asked(
            probabilities[:, 1] > probabilities[:, 0],
            probabilities.max(axis=1).astype(np.float64),
            np.array([bool(a.verdicts.flagged) for a in answers]),
            served_by,
        )

    def _end_tick(self, now_s: float, *, is_drifting: bool) -> None:
        self._now_s = now_s
        record = self._gateway.traffic()
        assert record is not None
        self._store.enter([TrafficTotal("replica", record)])
        self._watch.tick()
        for found in self.told():
            if found.state != "alarm" or found.monitor in self.raised:
                continue
            if is_drifting:
                self.raised[found.monitor] = found
            else:
                self.false_alarms.append(found.monitor)

    def told(self) -> list[MonitorReport]:
        """Read what the report of the model says."""
        with reading(self._engine) as connection:
            found = read_findings(connection, NAME, self._bundle.manifest.version)
        return [MonitorReport.model_validate_json(text) for text in found.values()]


def _sixteens(rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return rows, np.arange(AT_ONCE, len(rows), AT_ONCE)


async def run(seed: int, bundle: Bundle, folder: Path) -> dict[str, Any]:
    """Let days before and days after the change pass, and say what was noticed when."""
    rng = np.random.default_rng([seed, 1])
    change_s = BEFORE_DAYS * DAY_S
    before = draw_transactions(BEFORE_DAYS * PER_DAY, rng, regime="before", per_day=PER_DAY)
    after = draw_transactions(
        AFTER_DAYS * PER_DAY, rng, regime="after", from_s=change_s, per_day=PER_DAY
    )
    whole = before.at_s < change_s  # the last ones of a Poisson stream may come later
    before = Transactions(*(column[whole] for column in _columns(before)))
    stream = Stream(bundle, folder, rng)
    await stream.deploy()
    asked_before = await stream.ask(before, is_drifting=False)
    asked_after = await stream.ask(after, is_drifting=True)
    return {
        "false alarms before the change": stream.false_alarms,
        "alarms": {name: _delay(found, after, change_s) for name, found in stream.raised.items()},
        "named at the end": _named(stream.told()),
        "before": _quality(before, asked_before),
        "after": _quality(after, asked_after),
        "labels": _labels(after, asked_after, change_s, bundle),
    }


def _columns(drawn: Transactions) -> tuple[NDArray[Any], ...]:
    return drawn.rows, drawn.is_fraud, drawn.at_s, drawn.labelled_s


def _delay(found: MonitorReport, after: Transactions, change_s: float) -> dict[str, Any]:
    assert found.alarmed_s is not None
    assert found.since_s is not None
    named = [f"{c.name}: {c.how}" for c in found.channels if c.named]
    return {
        "pages": found.pages,
        "delay_days": (found.alarmed_s - change_s) / DAY_S,
        "delay_transactions": int((after.at_s <= found.alarmed_s).sum()),
        "estimated_begin_after_change_days": (found.since_s - change_s) / DAY_S,
        "named": named,
    }


def _named(told: list[MonitorReport]) -> dict[str, Any]:
    [features] = [found for found in told if found.monitor == "features"]
    named = [c.name for c in features.channels if c.named]
    return {
        "features": named,
        "although the habit did not change": [name for name in named if name in UNCHANGED],
        "statistics": {
            c.name: {"KS": c.kolmogorov_smirnov, "PSI": c.psi, "JS": c.jensen_shannon}
            for c in features.channels
            if c.name in FEATURES
        },
    }


def _quality(drawn: Transactions, asked: Asked) -> dict[str, Any]:
    """Measure what nobody knows until every label is there."""
    is_fraud = drawn.is_fraud == 1
    right = asked.is_called_fraud == is_fraud
    return {
        "transactions": len(right),
        "accuracy": float(right.mean()),
        "frauds found": float(asked.is_called_fraud[is_fraud].mean()),
        "honest ones called fraud": float(asked.is_called_fraud[~is_fraud].mean()),
        "accuracy as the model's own confidence has it": float(asked.confidence.mean()),
        "flagged as outliers": float(asked.is_strange.mean()),
        "served by": dict(asked.served_by),
    }


def _labels(after: Transactions, asked: Asked, change_s: float, bundle: Bundle) -> dict[str, Any]:
    """When labels alone would have shown that the accuracy is not what was promised."""
    promised = bundle.manifest.expectations.accuracy
    assert promised is not None
    right = (asked.is_called_fraud == (after.is_fraud == 1)).astype(int)
    order = np.argsort(after.labelled_s, kind="stable")
    hits, told_s = right[order].cumsum(), after.labelled_s[order]
    found: float | None = None
    for day in range(1, AFTER_DAYS + 1):
        n = int((told_s <= change_s + day * DAY_S).sum())
        if n and confidence_sequence(int(hits[n - 1]), n, alpha=ALPHA)[1] < promised:
            found = float(day)
            break
    arrived = float((after.labelled_s <= change_s + AFTER_DAYS * DAY_S).mean())
    return {
        "promised accuracy": promised,
        "arrived by the end": arrived,
        "median_delay_days": float(np.median(after.labelled_s - after.at_s)) / DAY_S,
        "promise seen broken after days": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the first stream")
    parser.add_argument("--seeds", type=int, default=3, help="how many streams")
    arguments = parser.parse_args()
    runs = {}
    with tempfile.TemporaryDirectory() as scratch:
        bundle = build_fraud(Path(scratch), SigningKey.create()).bundle
        for seed in range(arguments.seed, arguments.seed + arguments.seeds):
            began = time.monotonic()
            folder = Path(scratch) / str(seed)
            folder.mkdir()
            runs[str(seed)] = asyncio.run(run(seed, bundle, folder))
            print(
                f"{seed} ({time.monotonic() - began:.0f} s)", json.dumps(runs[str(seed)], indent=1)
            )
    figures = {"per_day": PER_DAY, "tick_s": TICK_S, "runs": runs}
    print(write(__file__, seed=arguments.seed, figures=figures))


if __name__ == "__main__":
    main()
