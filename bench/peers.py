"""Handrail beside its peers: the same ONNX models in MLServer, KServe, LitServe, BentoML, Ray.

Every peer has its own virtual environment below ``bench/.venvs`` (made when missing), one worker,
and the settings its documentation recommends; it runs bare.  Handrail runs with every guard,
recording and capture on.  One server is up at a time, on the same machine with the load generator;
rounds go through all of them again.  Run: ``python bench/peers.py``; needs wrk and h2load.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
from handrail_server import BUILDERS, handrail
from peer_load import check, measure
from peer_requests import SEED, Request, WrongAnswerError, build_requests
from peer_servers import PEERS, PINNED, NoStartError, Place, locked, peers, started
from peer_table import OWN, Runs, summarize, to_markdown
from results import write

from gateway.client import AnswerError
from models.signing import SigningKey

Start = Callable[[], AbstractContextManager[Place]]
FAILURES = (
    NoStartError, WrongAnswerError, AnswerError, OSError, subprocess.SubprocessError,
    httpx.HTTPError, grpc.RpcError, AssertionError,
)  # fmt: skip


def say(line: str) -> None:
    """Show progress at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def visit(start: Start, requests: Mapping[str, Request], *, seconds: int) -> dict[str, Any]:
    """Start one server, check its answers, measure it; a failure is part of the result."""
    found: dict[str, Any] = {}
    try:
        with start() as place:
            check(place, requests)
            measure(place, requests, seconds=seconds, into=found, say=say)
    except FAILURES as error:
        say(f"  failed: {error!r}"[:2000])
        found["error"] = str(error)[:500]
    return found


def starts(asked: str, files: Mapping[str, Path], *, own: Start, probe: bytes) -> dict[str, Start]:
    """List the servers to measure, Handrail right after its nearest rival."""
    wanted = asked.split(",") if asked else (*PEERS, OWN)
    found: dict[str, Start] = {
        peer.name: partial(started, peer, files, probe) for peer in peers(wanted)
    }
    return found | ({OWN: own} if OWN in wanted else {})


def publish(runs: Runs, *, settings: dict[str, Any], is_complete: bool) -> str:
    """Write what is known by now, as JSON and as a table beside it; return the table."""
    found = summarize(runs)
    told = {"complete": is_complete, "settings": settings, "versions": PINNED, **found}
    path = write(__file__, seed=SEED, figures=told)
    shown = to_markdown(found)
    path.with_suffix(".md").write_text(shown)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=4, help="per case")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--budget-s", type=float, default=1200, help="no visit begins that would end later"
    )
    parser.add_argument("--servers", default="", help="names with commas between; default: all")
    parser.add_argument("--lock", type=Path, help="file to lock while a server is up")
    asked = parser.parse_args()
    settings = {"seconds": asked.seconds, "rounds": asked.rounds}
    runs: Runs = {}
    with tempfile.TemporaryDirectory() as scratch:
        key = SigningKey.create()
        bundles = [build(Path(scratch), key) for build in BUILDERS]
        files = {bundle.manifest.name: bundle.path / "model.onnx" for bundle in bundles}
        requests = build_requests(files)
        probe, _ = requests["json"].http()
        servers = starts(asked.servers, files, own=partial(handrail, bundles, key), probe=probe)
        until_s = time.monotonic() + asked.budget_s  # the environments are there by now
        longest_s, left_out = 0.0, 0
        for turn in range(asked.rounds):
            for name, start in servers.items():
                if time.monotonic() + longest_s > until_s:
                    say(f"{name}, round {turn + 1}: left out, the time is up")
                    left_out += 1
                    continue
                say(f"{name}, round {turn + 1}")
                with locked(asked.lock):
                    began_s = time.monotonic()
                    runs.setdefault(name, []).append(visit(start, requests, seconds=asked.seconds))
                    longest_s = max(longest_s, time.monotonic() - began_s)
                publish(runs, settings=settings, is_complete=False)
    say(publish(runs, settings=settings, is_complete=left_out == 0))


if __name__ == "__main__":
    main()
