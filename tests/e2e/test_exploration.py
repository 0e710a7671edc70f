"""A ranking explored over HTTP on real Ray: what a stock client is shown, what the log is worth."""

import asyncio
import contextlib
import itertools
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import tritonclient.http.aio as triton
from scipy.stats import chi2

from gateway.record.decision import Decision, Exploration
from gateway.record.evidence import Evidence
from gateway.record.replay import is_reproduced, served_ids
from gateway.registry.keys import local_signing_key
from gateway.registry.switches import ALL, Switches
from guards.quality.offpolicy.asymptotic import asymptotic
from guards.quality.offpolicy.importance import on_policy, snips
from guards.quality.offpolicy.logged import LoggedData
from models.signing import SigningKey
from tests.e2e.conftest import Running, gateway, wait_for
from tests.rankings import build_ranking, candidates, slate

pytestmark = pytest.mark.e2e

REQUESTS = 20_000
AT_ONCE = 32
REWARDED = 2_000  # of the test that kills everything
SALT = b"the same draws in every run of this test"
LISTS, ITEMS, SLOTS = 4, 8, 3
OFF_S = 1.0  # a switch holds everywhere within this
RNG = np.random.default_rng(5)
CANDIDATES = [candidates(RNG, ITEMS) for _ in range(LISTS)]
CLICKED = RNG.uniform(0.02, 0.4, (LISTS, ITEMS))  # how often an item in the first slot is clicked


@dataclass(frozen=True)
class Shown:
    """What one request was answered."""

    sent_s: float
    items: tuple[int, ...]
    propensities: tuple[float, ...]
    parameters: dict[str, Any]

    @property
    def closed(self) -> str:
        return str(self.parameters.get("explore_closed", ""))


async def ask(client: triton.InferenceServerClient, number: int, name: str) -> Shown:
    inputs = []
    for tensor, array in CANDIDATES[number % LISTS].items():
        kind = {"f": "FP32", "i": "INT64", "b": "BOOL"}[array.dtype.kind]
        one = triton.InferInput(tensor, list(array.shape), kind)
        one.set_data_from_numpy(array)
        inputs.append(one)
    sent_s = time.monotonic()
    result = await client.infer("feed", inputs, request_id=name)
    return Shown(
        sent_s,
        tuple(result.as_numpy("handrail.served")[0].tolist()),
        tuple(result.as_numpy("handrail.propensity")[0].tolist()),
        result.get_response()["parameters"],
    )


async def ask_all(url: str, names: list[str]) -> list[Shown]:
    """Ask once for each name, `AT_ONCE` of them at a time; in their order."""
    shown: dict[int, Shown] = {}
    numbered = iter(enumerate(names))

    async def work() -> None:
        for number, name in numbered:
            shown[number] = await ask(client, number, name)

    async with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return [shown[number] for number in range(len(names))]


@dataclass(frozen=True)
class Explored:
    """What was shown, and what the evidence says of it, in the order of the requests."""

    running: Running
    shown: list[Shown]
    records: list[Decision]
    drawn: list[Exploration]


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Iterator[Explored]:
    root = tmp_path_factory.mktemp("gateway")
    state = root / "state"
    local_signing_key(state / "keys")
    key.publish(state / "keys" / "trusted")
    (state / "keys" / "explore.salt").write_bytes(SALT)
    bundle = build_ranking(root, key, slate(slots=SLOTS))
    with gateway(state, HANDRAIL__SERVING__REPLICAS="2") as running:
        with running.client() as client:
            client.register(bundle.path, as_="live")
        shown = asyncio.run(ask_all(running.url, [f"user {n}" for n in range(REQUESTS)]))
        evidence = Evidence(str(state / "evidence"))
        wait_for(lambda: len(evidence.read(since_ns=0, model="feed")) >= REQUESTS, 30, every_s=1)
        told = {r.prediction_id: r for _, r in evidence.read(since_ns=0, model="feed")}
        records = [told[one.parameters["prediction_id"]] for one in shown]
        drawn = [record.exploration for record in records if record.exploration is not None]
        assert len(drawn) == REQUESTS
        yield Explored(running, shown, records, drawn)


def test_what_is_shown_is_what_is_recorded(explored: Explored) -> None:
    for shown, drawn in zip(explored.shown, explored.drawn, strict=True):
        assert shown.closed == ""
        assert tuple(int(one) for one in served_ids(drawn)[0]) == shown.items
        assert drawn.propensity == shown.propensities
        assert shown.parameters["explored"] == (drawn.greedy != drawn.served)


def test_slates_are_shown_as_often_as_their_logged_propensities_say(explored: Explored) -> None:
    """G-test over whole slates; those that are expected less than five times count as one."""
    g, freedom = 0.0, 0
    for at in range(LISTS):
        logged = explored.drawn[at::LISTS]
        assert len({drawn.p_first for drawn in logged}) == 1  # same question, same distribution
        p_first = logged[0].p_first
        places = list(itertools.permutations(range(ITEMS), SLOTS))
        p = np.array([plackett_luce(p_first, slots) for slots in places])
        number = {slots: i for i, slots in enumerate(places)}
        counts = np.bincount([number[drawn.served] for drawn in logged], minlength=len(places))
        for drawn in logged[:200]:
            assert math.prod(drawn.propensity) == pytest.approx(p[number[drawn.served]])
        often = p * len(logged) >= 5
        observed = np.append(counts[often], counts[~often].sum())
        expected = len(logged) * np.append(p[often], p[~often].sum())
        seen = observed > 0
        g += 2 * float((observed[seen] * np.log(observed[seen] / expected[seen])).sum())
        freedom += len(observed) - 1

    assert freedom > 100
    assert chi2.sf(g, freedom) > 1e-3


def plackett_luce(p_first: tuple[float, ...], slots: tuple[int, ...]) -> float:
    left, p = 1.0, 1.0
    for place in slots:
        p *= p_first[place] / left
        left -= p_first[place]
    return p


def test_every_decision_is_made_again_from_its_record(explored: Explored) -> None:
    assert all(is_reproduced(record, SALT) for record in explored.records)


def test_the_log_says_what_another_policy_would_earn(explored: Explored) -> None:
    """Uniform first slots, whose value is known here; what was served earns something else."""
    random = np.random.default_rng(9)
    lists = np.arange(REQUESTS) % LISTS
    first = np.array([drawn.served[0] for drawn in explored.drawn])
    rewards = (random.random(REQUESTS) < CLICKED[lists, first]).astype(np.float64)
    propensities = np.array([drawn.propensity[0] for drawn in explored.drawn])
    data = LoggedData(rewards, propensities, np.full(REQUESTS, 1 / ITEMS))

    assert CLICKED.mean() in asymptotic(snips(data))
    assert CLICKED.mean() not in asymptotic(on_policy(data))


def test_a_request_that_is_asked_again_is_decided_alike(explored: Explored) -> None:
    again = asyncio.run(ask_all(explored.running.url, [f"user {n}" for n in range(200)]))

    for first, second in zip(explored.shown[:200], again, strict=True):
        assert second.items == first.items
        assert second.propensities == first.propensities


@pytest.mark.parametrize(("model", "is_pushed"), [("feed", True), (ALL, True), (ALL, False)])
def test_the_kill_switch_holds_on_every_replica_within_a_second(
    explored: Explored, model: str, is_pushed: bool
) -> None:
    """Also where no replica is told: each looks by itself."""
    asyncio.run(_off_and_on(explored.running, model, is_pushed=is_pushed))


async def _off_and_on(running: Running, model: str, *, is_pushed: bool) -> None:
    switches = Switches(f"sqlite:///{running.state}/handrail.db")
    shown: list[Shown] = []
    stop = asyncio.Event()

    def turn(*, on: bool) -> None:
        if not is_pushed:
            switches.turn(model, explore=on, who="test", why="")
            return
        with running.client() as manager:
            told = manager.explore(on=on, model=model or None)
        assert told["acknowledged"] == {"feed": 2}

    async def keep_asking(client: triton.InferenceServerClient, name: str) -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            shown.append(await ask(client, number, f"{name} {number}"))

    async with triton.InferenceServerClient(running.url.removeprefix("http://")) as client:
        asking = [asyncio.create_task(keep_asking(client, f"{time.time()} {i}")) for i in range(8)]
        await asyncio.sleep(0.5)
        off_s = time.monotonic()
        await asyncio.to_thread(turn, on=False)
        await asyncio.sleep(1.5 * OFF_S)
        on_s = time.monotonic()
        await asyncio.to_thread(turn, on=True)
        back_s = time.monotonic()  # nothing is promised of how soon the command itself is through
        await asyncio.sleep(1.25 * OFF_S)
        stop.set()
        await asyncio.gather(*asking)

    while_off = [one for one in shown if off_s + OFF_S < one.sent_s < on_s]
    assert len(while_off) > 100
    assert {one.closed for one in while_off} == {"kill_switch"}
    assert {one.propensities for one in while_off} == {(1.0,) * SLOTS}
    assert {one.closed for one in shown if one.sent_s < off_s} == {""}
    assert {one.closed for one in shown if one.sent_s > back_s + OFF_S} == {""}


def test_rewards_survive_sigkill_of_everything_and_say_what_another_policy_would_earn(
    new_state: Path, tmp_path: Path, key: SigningKey
) -> None:
    (new_state / "keys" / "explore.salt").write_bytes(SALT)
    spec = {"feedback": {"window_s": 45, "grace_s": 0}, "loop": {"window_s": 10, "least": 20}}
    bundle = build_ranking(tmp_path, key, slate(slots=SLOTS), **spec)
    with gateway(new_state) as running:
        with running.client() as client:
            client.register(bundle.path, as_="live")
            shown = asyncio.run(ask_all(running.url, [f"user {n}" for n in range(REWARDED)]))
            wait_for(lambda: client.report("feed")["requests"] == REWARDED, 30)
            receipt = client.feedback("feed", _said(shown))
        everything = psutil.Process(running.process.pid).children(recursive=True)
        for process in (*everything, running.process):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    assert receipt == {"accepted": 2 * REWARDED, "duplicates": 0}
    with gateway(new_state, HANDRAIL__EVALUATE__LOOP_S="1.0") as running:
        with running.client() as client:
            wait_for(lambda: client.estimate("feed", "uniform")["decisions"] == REWARDED, 60)
            wait_for(lambda: client.report("feed")["loop"] is not None, 60)
            report, told = client.report("feed"), client.estimate("feed", "uniform")
            [recorder] = client.status()["processes"]["recorders"].values()
        exported = tmp_path / "feed.parquet"
        handrail, where = (sys.executable, "-m", "gateway.cli"), ("feed", "--url", running.url)
        subprocess.run([*handrail, "export", *where, "--out", str(exported)], check=True)
        asked = [*handrail, "estimate", *where, "--target", "uniform"]
        wide = {**os.environ, "COLUMNS": "160"}  # pytest's readline leaves 80 to its children
        told_people = subprocess.run(asked, check=True, capture_output=True, text=True, env=wide)
        metrics = httpx.get(f"http://127.0.0.1:{recorder['metrics_port']}/metrics").text

    assert report["feedback"]["in_time"] == 2 * REWARDED
    lines = {line["estimator"]: line for line in told["estimates"]}
    assert lines["reward_interaction"]["low"] < CLICKED.mean() < lines["reward_interaction"]["high"]
    assert [estimator for estimator in lines if estimator not in told_people.stdout] == []
    assert told["diagnostics"]["override_share"] == 0
    assert abs(told["diagnostics"]["martingale_z"]) < 4
    assert report["loop"]["confirmed"] == report["loop"]["decisions"]
    assert not report["loop"]["override_alarm"]
    assert {e["name"] for e in report["expectations"]} >= {"new_items_shown", "shown_as_drawn"}
    assert re.search(r'handrail_loop_health\{measure="coverage",model="feed"\} ', metrics)
    assert re.search(r'handrail_loop_alarm\{alarm="override",model="feed"\} 0', metrics)
    assert pq.read_table(exported)["unbiased"].to_pylist() == [True] * REWARDED


def _said(shown: list[Shown]) -> list[dict[str, Any]]:
    """A click or none on the first slot, and what was shown, of every request."""
    random = np.random.default_rng(11)
    items = []
    for number, one in enumerate(shown):
        place = CANDIDATES[number % LISTS]["item"].tolist().index(one.items[0])
        clicked = random.random() < CLICKED[number % LISTS, place]
        about = {"prediction_id": one.parameters["prediction_id"], "row": 0}
        items.append({**about, "slot": 0, "reward": int(clicked), "served": list(one.items)})
    return items
