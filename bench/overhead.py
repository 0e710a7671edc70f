"""What the gateway costs: the same ONNX model bare and behind Handrail, side by side in one run.

Three servers are up at once and take turns, so that noise of the machine hits all alike:
bare uvicorn (the ceiling), one Ray Serve replica behind HAProxy, and Handrail with every guard,
recording and capture on; the last one also with its classes explored (``exploring``).  Then the
records say which share of a request's time guards and exploration take.
Run: ``python bench/overhead.py``; needs wrk.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from load import Load, run_wrk
from results import write
from shares import measure_shares

from gateway.client import Client
from gateway.cluster import free_ports
from gateway.registry.keys import local_signing_key
from gateway.running import key_of
from guards.explore.policies import EpsilonGreedy
from guards.explore.settings import SingleExplore
from models.examples.mlp import NAME, build_mlp, ordinary_rows

SEED = 0
CONNECTIONS = (1, 16, 64)
BARE = Path(__file__).with_name("bare.py")
CHOICE = "choice"  # the same model, its classes explored
EXPLORE = SingleExplore(policy=EpsilonGreedy(epsilon=0.05))


@contextmanager
def started(*command: str) -> Iterator[None]:
    """Run a server until the block ends; it has said ``ready`` when the block begins."""
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("ready"):
                break
        else:
            raise SystemExit(f"{' '.join(command)} ended with {process.wait()}")
        # Ray prints a line per replica that dies: a full pipe would hold up its thread and the end.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def request_body(rows: int) -> bytes:
    """Build the request every server gets."""
    data = ordinary_rows(rows, np.random.default_rng(SEED)).round(4)
    tensor = {
        "name": "features",
        "shape": list(data.shape),
        "datatype": "FP32",
        "data": data.ravel().tolist(),
    }
    return json.dumps({"inputs": [tensor]}).encode()


def measure(urls: dict[str, str], *, rounds: int, duration_s: int) -> dict[str, Any]:
    """Take turns: every server once per concurrency and round, single rows and 32-row batches."""
    runs: dict[tuple[str, str], list[Load]] = {}
    cases = [(f"c={c}", c, request_body(1)) for c in CONNECTIONS]
    cases.append(("c=1, 32 rows", 1, request_body(32)))
    for url in urls.values():
        run_wrk(url, cases[1][2], connections=16, duration_s=2)  # warm up
    for _ in range(rounds):
        for case, connections, body in cases:
            for server, url in urls.items():
                load = run_wrk(url, body, connections=connections, duration_s=duration_s)
                runs.setdefault((case, server), []).append(load)
    return {case: {server: _summary(runs[case, server]) for server in urls} for case, _, _ in cases}


def _summary(loads: list[Load]) -> dict[str, Any]:
    return {
        "requests_per_s": statistics.median(load.requests_per_s for load in loads),
        "requests_per_s_all": [load.requests_per_s for load in loads],
        "p50_ms": statistics.median(load.p50_ms for load in loads),
        "p99_ms": statistics.median(load.p99_ms for load in loads),
        "failed": sum(load.failed for load in loads),
    }


def _ratios(cases: dict[str, Any]) -> dict[str, float]:
    def rate(case: str, server: str) -> float:
        return float(cases[case][server]["requests_per_s"])

    ratios = {
        f"throughput {case}, handrail / bare serve": rate(case, "handrail") / rate(case, "serve")
        for case in cases
    }
    p50 = {server: cases["c=1"][server]["p50_ms"] for server in ("handrail", "serve")}
    ratios["p50 c=1, handrail / bare serve"] = p50["handrail"] / p50["serve"]
    batch = cases["c=1, 32 rows"]
    extra_ms = batch["handrail"]["p50_ms"] - batch["serve"]["p50_ms"]
    ratios["p50 c=1, exploring / not"] = cases["c=1"]["exploring"]["p50_ms"] / p50["handrail"]
    ratios["p50 c=1, 32 rows, exploring / not"] = (
        batch["exploring"]["p50_ms"] / batch["handrail"]["p50_ms"]
    )
    ratios["own cost per row of a 32-row request, us"] = extra_ms * 1000 / 32
    return {name: round(ratio, 3) for name, ratio in ratios.items()}


def split(urls: dict[str, str], evidence: str, *, duration_s: int) -> dict[str, Any]:
    """Split the time of single requests by stage, as the records have it."""
    return {
        f"{server}, {rows} rows": measure_shares(
            urls[server], model, request_body(rows), evidence, duration_s
        )
        for server, model in (("handrail", NAME), ("exploring", CHOICE))
        for rows in (1, 32)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration-s", type=int, default=4)
    asked = parser.parse_args()
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "state"
        key = local_signing_key(state / "keys")
        bundle = build_mlp(state.parent, key)
        choice = build_mlp(state.parent, key, name=CHOICE, explore=EXPLORE)
        model = str(bundle.path / "model.onnx")
        ports = dict(zip(("uvicorn", "serve", "handrail"), free_ports(3), strict=True))
        urls = {
            server: f"http://127.0.0.1:{port}/v2/models/mlp/infer" for server, port in ports.items()
        }
        urls["exploring"] = urls["handrail"].replace(NAME, CHOICE)
        for server in ("uvicorn", "serve"):
            stack.enter_context(started(str(BARE), server, str(ports[server]), model))
        up = ("-m", "gateway.cli", "up", "--state", str(state), "--port", str(ports["handrail"]))
        stack.enter_context(started(*up))
        with Client(f"http://127.0.0.1:{ports['handrail']}", key_of(state)) as client:
            client.register(bundle.path, as_="live")
            client.register(choice.path, as_="live")
        cases = measure(urls, rounds=asked.rounds, duration_s=asked.duration_s)
        shares = split(urls, str(state / "evidence"), duration_s=asked.duration_s)
    figures = {"ratios": _ratios(cases), "shares": shares, "cases": cases}
    path = write(__file__, seed=SEED, figures=figures)
    print(json.dumps({"ratios": figures["ratios"], "shares": shares}, indent=1))
    print(path)


if __name__ == "__main__":
    main()
