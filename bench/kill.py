"""What dies with a replica: answers while replicas are killed, and while inputs kill them.

Runs at half of the capacity, open loop (see `open_loop`), two replicas, every answer compared with
the right one.  In the first, SIGKILL ends a replica every five seconds.  In the second nobody
kills from outside, but every minute there are new inputs that crash the model, and go on being sent
once a second.  A third has a replica to spare.  Run: ``python bench/kill.py``.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
from open_loop import Outcome, http_request, poisson_arrivals, run_open_loop
from overhead import started
from overload import saturate
from results import write

from gateway.client import Client
from gateway.cluster import free_ports
from gateway.record.inflight import Flight, list_flights
from gateway.registry.deaths import Deaths
from gateway.registry.keys import local_signing_key
from gateway.running import key_of
from gateway.serving.fingerprint import Fingerprints
from tests.gateway.serving.killer import CRASH, answer, build_killer

SEED = 0
MODEL = "killer"
BUDGET_MS = 500.0
GRACE_MS = 50.0
KILL_EVERY_S = 5.0
POISON_EVERY_S = 60.0  # two deaths each, and a replica takes up to ten seconds to start
ROWS = range(2, 66)
FRESH_NS = 1_000_000_000
SAID_BYTES = 60  # of an answer that is not in the error contract


class Gateway:
    """A running gateway, as this script sees it."""

    def __init__(self, state: Path, port: int) -> None:
        self.state = state
        self.url = f"http://127.0.0.1:{port}/v2/models/{MODEL}/infer"
        self.requests = {row: self.request([float(row)]) for row in ROWS}

    def request(self, rows: list[float]) -> bytes:
        tensor = {"name": "x", "shape": [len(rows), 1], "datatype": "FP32", "data": rows}
        return http_request(self.url, json.dumps({"inputs": [tensor]}).encode())

    def serving(self) -> list[int]:
        """Find the processes whose event loops turn."""
        found = []
        for path in list_flights(self.state / "journal"):
            try:
                flight = Flight.read(path)
            except FileNotFoundError:
                continue
            is_fresh = time.monotonic_ns() - flight.heartbeat_ns < FRESH_NS
            if is_fresh and not flight.is_dead():
                found.append(flight.pid)
        return found


def by_whom(outcome: Outcome, right: float) -> str:
    """Say what became of an ordinary request."""
    if outcome.status != 200:
        return f"failed {_code(outcome)}"
    told = json.loads(outcome.body)
    if told["parameters"]["served_by"] != "model":
        kind = f"ladder ({told['parameters']['fallback_reason']})"
    else:
        # JSON has the shortest number that is the same FP32.
        is_right = np.float32(told["outputs"][0]["data"]).tolist() == [right]
        kind = "model" if is_right else "wrong"
    return f"{kind}, late" if outcome.took_s * 1000 > BUDGET_MS + GRACE_MS else kind


def figures(outcomes: list[Outcome], rows: list[int], seen: Counter[int]) -> dict[str, Any]:
    """Count; ``seen`` is how often so many replicas were serving."""
    whom = Counter(
        by_whom(outcome, answer(row)) for outcome, row in zip(outcomes, rows, strict=True)
    )
    n = len(outcomes)
    ladder = sum(
        k for kind, k in whom.items() if kind.startswith("ladder (") and "late" not in kind
    )
    took_ms = [outcome.took_s * 1000 for outcome in outcomes if outcome.status == 200]
    return {
        "requests": n,
        "right in time by the model": whom["model"] / n,
        "right in time by the model or answered by the ladder": (whom["model"] + ladder) / n,
        "wrong": whom["wrong"] + whom["wrong, late"],
        "p50_ms": float(np.quantile(took_ms, 0.5)),
        "p99.9_ms": float(np.quantile(took_ms, 0.999)),
        "generator late at most, ms": 1000 * max(outcome.sent_late_s for outcome in outcomes),
        "answered by": dict(whom.most_common()),
        "without an answer, after ms": [
            round(one.took_s * 1000) for one in outcomes if one.status == 0
        ][:50],
        "time with so many replicas serving": {
            str(count): k / seen.total() for count, k in sorted(seen.items())
        },
    }


async def run(
    gateway: Gateway,
    *,
    per_s: float,
    for_s: float,
    beside: Callable[[Gateway], Coroutine[Any, Any, Any]],
) -> tuple[dict[str, Any], Any]:
    """Send ordinary requests for a while, with something going on beside them."""
    rng = np.random.default_rng(SEED)
    arrivals_s = poisson_arrivals(per_s, for_s, rng)
    rows = rng.choice(ROWS, len(arrivals_s)).tolist()
    seen: Counter[int] = Counter()

    async def count() -> None:
        while True:
            seen[len(gateway.serving())] += 1
            await asyncio.sleep(0.25)

    trouble, counting = asyncio.ensure_future(beside(gateway)), asyncio.ensure_future(count())
    outcomes = await run_open_loop(
        gateway.url,
        lambda i: gateway.requests[rows[i]],
        arrivals_s=arrivals_s,
        keep_bodies=True,
    )
    counting.cancel()
    return figures(outcomes, rows, seen), await trouble


def kill_for(for_s: float) -> Callable[[Gateway], Coroutine[Any, Any, int]]:
    """End a random replica that serves, every few seconds; count."""

    async def kill(gateway: Gateway) -> int:
        chance, killed = random.Random(SEED), 0
        until_s = time.monotonic() + for_s
        while time.monotonic() + KILL_EVERY_S < until_s:
            await asyncio.sleep(KILL_EVERY_S)
            if victims := gateway.serving():
                os.kill(chance.choice(victims), signal.SIGKILL)
                killed += 1
        return killed

    return kill


def poison_for(for_s: float) -> Callable[[Gateway], Coroutine[Any, Any, list[dict[str, Any]]]]:
    """Send inputs that crash the model, new ones now and then, each once a second."""

    async def poison(gateway: Gateway) -> list[dict[str, Any]]:
        inputs: list[list[float]] = []
        answers: list[Counter[str]] = []
        began_s = time.monotonic()
        while (spent_s := time.monotonic() - began_s) < for_s:
            if len(inputs) <= spent_s / POISON_EVERY_S:
                inputs.append([CRASH, float(ROWS[len(inputs)])])
                answers.append(Counter())
            for rows, said in zip(inputs, answers, strict=True):
                [outcome] = await run_open_loop(
                    gateway.url,
                    lambda _, rows=rows: gateway.request(rows),
                    arrivals_s=np.zeros(1),
                    keep_bodies=True,
                )
                is_answer = outcome.status == 200
                said["answered by the ladder" if is_answer else _code(outcome)] += 1
            await asyncio.sleep(1)
        deaths = Deaths(f"sqlite:///{gateway.state}/handrail.db").of(MODEL)
        salt = (gateway.state / "keys" / "explore.salt").read_bytes()
        prints = Fingerprints(MODEL, key=salt)
        return [
            {
                "inputs": rows,
                "deaths": len(
                    deaths.get(prints.of({"x": np.array(rows, np.float32)[:, None]}), [])
                ),
                "answers": dict(said),
            }
            for rows, said in zip(inputs, answers, strict=True)
        ]

    return poison


def _code(outcome: Outcome) -> str:
    """Name the status, and the code of an answer that is in the error contract."""
    try:
        return f"{outcome.status} {json.loads(outcome.body)['code']}"
    except (ValueError, KeyError):
        said = outcome.body[:SAID_BYTES].decode(errors="replace")
        return f"{outcome.status} {said}" if outcome.status else "without an answer"


async def measure(gateway: Gateway, *, kill_s: float, poison_s: float) -> dict[str, Any]:
    """Find the capacity, then do both runs; either may be left out with 0 s."""
    one = gateway.requests[ROWS[0]]
    await saturate(gateway.url, one, clients=16, for_s=2)
    peak_per_s = await saturate(gateway.url, one, clients=16, for_s=8)
    found: dict[str, Any] = {"peak_per_s": peak_per_s, "rate_per_s": peak_per_s / 2}
    everybody = len(gateway.serving())
    runs = (("killed every 5 s", kill_s, kill_for), ("with inputs that kill", poison_s, poison_for))
    for name, for_s, trouble in runs:
        if not for_s:
            continue
        while len(gateway.serving()) < everybody:
            await asyncio.sleep(0.5)
        await asyncio.sleep(5)
        counted, told = await run(gateway, per_s=peak_per_s / 2, for_s=for_s, beside=trouble(for_s))
        found[name] = counted | {"kills" if trouble is kill_for else "poison": told}
    return found


def with_replicas(replicas: int, *, kill_s: float, poison_s: float) -> dict[str, Any]:
    """Start a gateway and measure it."""
    with tempfile.TemporaryDirectory() as scratch:
        state, [port] = Path(scratch) / "state", free_ports(1)
        key = local_signing_key(state / "keys")
        bundle = build_killer(
            Path(scratch) / "bundles", key, name=MODEL, budget_ms=BUDGET_MS, ladder=True
        )
        os.environ["HANDRAIL__SERVING__REPLICAS"] = str(replicas)
        with started("-m", "gateway.cli", "up", "--state", str(state), "--port", str(port)):
            with Client(f"http://127.0.0.1:{port}", key_of(state)) as client:
                client.register(bundle.path, as_="live")
            gateway = Gateway(state, port)
            return asyncio.run(measure(gateway, kill_s=kill_s, poison_s=poison_s))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="of killing two replicas")
    parser.add_argument("--poison-minutes", type=float, default=5.0, help="of inputs that kill")
    parser.add_argument("--spare-minutes", type=float, default=5.0, help="of killing three")
    asked = parser.parse_args()
    found = {
        "2 replicas": with_replicas(
            2, kill_s=asked.minutes * 60, poison_s=asked.poison_minutes * 60
        ),
        "3 replicas": with_replicas(3, kill_s=asked.spare_minutes * 60, poison_s=0),
    }
    print(json.dumps(found, indent=1))
    print(write(__file__, seed=SEED, figures={"asked": vars(asked), **found}))


if __name__ == "__main__":
    main()
