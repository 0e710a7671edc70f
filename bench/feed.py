"""What exploration is worth to a feed that learns from what it served, through the gateway's path.

    python bench/feed.py                      # two arms, three seeds, about 3 minutes
    python bench/feed.py --seeds 1 --seed 7

Every round the model is trained on the gateway's own decision records, packed as a bundle and
made live; then users ask.  The requests go through versions, pipeline, explorer and record as in a
replica (`in_process`).  One arm serves greedily, the other explores as `models/examples/feed.py`
says.  At the end every decision is made again from its record alone, and the log says what
serving greedily would have earned, which the simulation knows.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from in_process import SALT, InProcessModel
from numpy.typing import NDArray
from results import write

from gateway.record.decision import Decision
from gateway.record.replay import is_reproduced
from guards.explore.policies import Greedy
from guards.explore.settings import SlateExplore
from guards.quality.loop.alarm import judge_newcomers
from guards.quality.loop.exposure import Exposure, coverage, found, gini
from guards.quality.loop.settings import LoopSettings
from guards.quality.loop.sources import LabelSources
from guards.quality.offpolicy.asymptotic import asymptotic
from guards.quality.offpolicy.slate import SlateData
from guards.quality.offpolicy.slate_estimators import reward_interaction
from models.examples.catalogue import Catalogue, Clicks, Slates, first_model
from models.examples.feed import EXPLORE, NAME, SIZE, pack_feed
from models.signing import SigningKey

ARMS: dict[str, SlateExplore] = {
    "greedy": EXPLORE.model_copy(update={"policy": Greedy()}),
    "plackett-luce + bucket 2%": EXPLORE,
}
STEADY = 10  # last rounds, which are reported
COVERED = 20  # impressions
AT_ONCE = 16  # requests in flight


@dataclass(frozen=True)
class Segment:
    """What one segment was served in one round, as the records have it."""

    slates: Slates
    clicks: Clicks
    greedy: Slates
    propensities: NDArray[np.float64]  # (n, slots), each given the slots before it


@dataclass(frozen=True)
class Round:
    """What one round served."""

    segments: list[Segment]
    served: float  # expected clicks
    exploit: float  # of the greedy slates that the records name
    oracle: float
    impressions: NDArray[np.int64]  # (items,)
    reproduced: int
    decisions: int


class Feed:
    """One arm: a model, its gateway and its world."""

    def __init__(self, explore: SlateExplore, seed: int, folder: Path) -> None:
        self._explore, self._folder = explore, folder
        self.catalogue = Catalogue.of_seed(seed, SIZE)
        self._random = np.random.default_rng([seed, 7])
        self._model = first_model(self.catalogue, self._random)
        self._gateway = InProcessModel(NAME)
        self._key = SigningKey.create()
        self._seed = seed

    async def run(self) -> list[Round]:
        """Train, serve and learn, round after round."""
        return [await self._round(round_) for round_ in range(1, SIZE.rounds + 1)]

    async def _round(self, round_: int) -> Round:
        out = self._folder / f"version-{round_}"
        scores = self._model.scores()
        bundle = pack_feed(scores, str(round_), self._explore, out=out, key=self._key)
        await self._gateway.deploy(bundle)
        self._model.forget()
        items = SIZE.eligible(round_)
        requests = SIZE.requests // SIZE.segments
        for segment in range(SIZE.segments):
            names = [f"{self._seed}/{round_}/{segment}/{user}" for user in range(requests)]
            await self._ask(segment, items, names)
        # In the order of the requests, whichever of them had to ask again.
        records = sorted(self._gateway.records.take(), key=_number)
        parts = [
            self._learn(segment, records[segment * requests : (segment + 1) * requests])
            for segment in range(SIZE.segments)
        ]
        return self._counted(parts, items, records)

    async def _ask(self, segment: int, items: int, names: list[str]) -> None:
        inputs = {"segment": np.full(items, segment), "item": np.arange(items)}
        for start in range(0, len(names), AT_ONCE):
            together = names[start : start + AT_ONCE]
            await asyncio.gather(*(self._gateway.infer(name, inputs) for name in together))

    def _learn(self, segment: int, records: list[Decision]) -> Segment:
        """Let users click on what was served, and train on that; places are item numbers here."""
        served, greedy, p = (np.array(list(column)) for column in zip(*_rows(records), strict=True))
        clicks = self.catalogue.clicks(segment, served, self._random)
        self._model.learn(segment, served, clicks)
        return Segment(served, clicks, greedy, p)

    def _counted(self, parts: list[Segment], items: int, records: list[Decision]) -> Round:
        world = self.catalogue
        counts = np.zeros(SIZE.items, np.int64)
        for part in parts:
            counts += np.bincount(part.slates.ravel(), minlength=SIZE.items)
        numbered = list(enumerate(parts))
        return Round(
            parts,
            served=sum(world.value(s, part.slates) for s, part in numbered),
            exploit=sum(world.value(s, part.greedy) for s, part in numbered),
            oracle=sum(len(p.slates) * world.value(s, world.best(s, items)) for s, p in numbered),
            impressions=counts,
            reproduced=sum(is_reproduced(record, SALT) for record in records),
            decisions=len(records),
        )


def _number(record: Decision) -> tuple[int, ...]:
    return tuple(map(int, record.request_id.split("/")))


def _rows(records: list[Decision]) -> Iterator[tuple[Any, Any, Any]]:
    for record in records:
        drawn = record.exploration
        assert drawn is not None
        yield drawn.served, drawn.greedy, drawn.propensity


def summary(feed: Feed, rounds: list[Round]) -> dict[str, Any]:
    """Measure one arm of one seed."""
    last, world = rounds[-STEADY:], feed.catalogue
    until = SIZE.rounds - STEADY
    old = world.born <= until
    recent, ever = (sum(r.impressions for r in part) for part in (last, rounds))
    exposure = Exposure(np.arange(old.sum()), recent[old], np.zeros(old.sum(), np.int64))
    whole = Exposure(np.arange(SIZE.items), ever, np.zeros(SIZE.items, np.int64))
    p = np.concatenate([s.propensities.prod(axis=1) for r in rounds for s in r.segments])
    other = np.concatenate([(s.slates != s.greedy).any(axis=1) for r in rounds for s in r.segments])
    return {
        "coverage": coverage(exposure, least=COVERED),
        "gini": gini(exposure),
        "found": found(world.good_newcomers(until=until), whole, least=COVERED),
        "value": sum(r.served for r in last) / sum(r.oracle for r in last),
        "cumulative": sum(r.served for r in rounds) / sum(r.oracle for r in rounds),
        "cost": 1 - sum(r.served for r in last) / sum(r.exploit for r in last),
        "explored share of slates": LabelSources.of(p, other).explored_share,
        "value by round": [round(r.served / r.oracle, 4) for r in rounds],
        "alarm after round": _alarm(world, rounds),
        "reproduced": sum(r.reproduced for r in rounds),
        "decisions": sum(r.decisions for r in rounds),
        "greedy from the log": _greedy_from_log(last),
    }


def _alarm(world: Catalogue, rounds: list[Round]) -> int | None:
    settings = LoopSettings()
    reached = newcomers = 0
    for now in range(settings.patience, len(rounds) + 1):
        born = now - settings.patience + 1
        seen = sum(r.impressions for r in rounds[born - 1 : now])[world.born == born]
        reached += int((seen >= settings.least).sum())
        newcomers += len(seen)
        if judge_newcomers(reached, newcomers, settings) is not None:
            return now
    return None


def _greedy_from_log(rounds: list[Round]) -> dict[str, Any]:
    """Estimate clicks per request of the greedy slates, which the log of exploring can answer."""
    segments = [segment for r in rounds for segment in r.segments]
    slates = np.concatenate([s.slates for s in segments])
    greedy = np.concatenate([s.greedy for s in segments])
    data = SlateData(
        rewards=np.concatenate([s.clicks for s in segments]).astype(np.float64),
        logging=np.concatenate([s.propensities for s in segments]),
        # Once a slot differs, all weights below it are 0 whatever stands here.
        target=(slates == greedy).astype(np.float64),
    )
    estimate = reward_interaction(data)
    interval = asymptotic(estimate)
    truth = sum(r.exploit for r in rounds) / len(slates)
    return {
        "estimate": estimate.value,
        "interval": [interval.low, interval.high],
        "truth": truth,
        "covered": truth in interval,
    }


async def compare(seed: int) -> dict[str, Any]:
    """Run both arms in the same world."""
    arms = {}
    for name, explore in ARMS.items():
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            feed = Feed(explore, seed, Path(folder))
            arms[name] = summary(feed, await feed.run())
        arms[name]["took_s"] = round(time.perf_counter() - start, 1)
        told = {key: value for key, value in arms[name].items() if key != "value by round"}
        print(seed, name, told, flush=True)
    return arms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the first world")
    parser.add_argument("--seeds", type=int, default=3, help="how many worlds")
    arguments = parser.parse_args()
    runs = {
        str(seed): asyncio.run(compare(seed))
        for seed in range(arguments.seed, arguments.seed + arguments.seeds)
    }
    means = {
        arm: {
            name: float(np.mean([run[arm][name] for run in runs.values()]))
            for name in ("coverage", "gini", "found", "value", "cumulative", "cost")
        }
        for arm in ARMS
    }
    print(json.dumps(means, indent=1))
    write(__file__, seed=arguments.seed, figures={"means": means, "runs": runs})


if __name__ == "__main__":
    main()
