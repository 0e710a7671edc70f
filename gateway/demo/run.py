"""`handrail demo`: train, pack, serve, ask, label, and compare the evaluator with our own count.

It does what a user would do: it starts `handrail up` as a process of its own and talks to it
over HTTP.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.client import AnswerError, Client
from gateway.cluster import free_ports
from gateway.console import open_console
from gateway.demo.traffic import THREADS, Tally, ask_all, force_fallbacks, post_labels
from gateway.demo.verdict import Shown, demo_table
from gateway.registry.keys import local_signing_key
from gateway.running import key_of
from models.examples.breast_cancer import build_breast_cancer
from models.examples.digits import build_digits
from models.examples.example import Example
from models.examples.strange import strange_digits, strange_measurements

START_S = 90.0
JUDGED_S = 60.0
STOP_S = 30.0


class DemoError(Exception):
    """The demo cannot go on; the sentence says why."""


def run_demo(keep: Path | None) -> int:
    """Run the main job; return its exit code.

    Args:
        keep: Where bundles and state are left; None: a temporary directory.
    """
    console = Console(stderr=True)
    with ExitStack() as stack:
        root = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="handrail-")))
        try:
            return _run(root, console)
        except (DemoError, AnswerError) as error:
            console.print(f"[red]{error}[/red]")
            return 1


def _run(root: Path, console: Console) -> int:
    began_s = time.monotonic()
    with _progress(console) as progress:
        digits, cancer = _build(root, progress)
        port = free_ports(1)[0]
        step = progress.add_task("start the gateway", total=1)
        with _gateway(root / "state", port), Client(_url(port), key_of(root / "state")) as client:
            progress.advance(step)
            _register(client, digits, cancer, progress)
            shown = [
                _show(client, digits, progress=progress),
                _show(client, cancer, progress=progress),
            ]
            spans = int(client.status()["processes"]["evaluator"]["spans_received"])
    figures = {one.example.bundles[0].manifest.name: one.figures() for one in shown}
    is_right = all(one.is_right for one in shown)
    told = {
        "models": figures,
        "spans_received": spans,
        "took_s": round(time.monotonic() - began_s, 1),
        "ok": is_right,
    }
    open_console().print(demo_table(shown, spans))
    sys.stdout.write(json.dumps(told) + "\n")
    return 0 if is_right else 1


def _build(root: Path, progress: Progress) -> tuple[Example, Example]:
    """Train and pack; a bundle that is there from an earlier run is in the way."""
    bundles = root / "bundles"
    if bundles.exists():
        raise DemoError(f"{bundles} exists already; choose an empty directory to keep the demo in")
    key = local_signing_key(root / "state" / "keys")
    step = progress.add_task("train and pack", total=2)
    digits = build_digits(bundles, key)
    progress.advance(step)
    cancer = build_breast_cancer(bundles, key)
    progress.advance(step)
    return digits, cancer


@contextmanager
def _gateway(state: Path, port: int) -> Iterator[None]:
    """Run `handrail up` until the block ends."""
    command = [sys.executable, "-m", "gateway.cli", "up", "--state", str(state)]
    every_trace = {"HANDRAIL__RECORD__TRACE_SHARE": "1.0"}
    with (state / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--grpc-port", "0"],
            env=os.environ | every_trace,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_ready(process, port, state)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int, state: Path) -> None:
    until_s = time.monotonic() + START_S
    with Client(_url(port)) as client:
        while not (state / "gateway.json").exists() or not client.ready():
            if process.poll() is not None or time.monotonic() > until_s:
                tail = (state / "gateway.log").read_text(errors="replace")[-2000:]
                raise DemoError(f"the gateway did not start:\n{tail}")
            time.sleep(0.2)


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _register(client: Client, digits: Example, cancer: Example, progress: Progress) -> None:
    step = progress.add_task("register", total=3)
    live, shadow = digits.bundles
    client.register(live.path, as_="live")
    progress.advance(step)
    client.register(cancer.bundles[0].path, as_="live")
    progress.advance(step)
    client.register(shadow.path, as_="shadow", trust_code=True)
    progress.advance(step)


def _show(client: Client, example: Example, *, progress: Progress) -> Shown:
    """Ask, label, and wait until the evaluator has judged."""
    name = example.bundles[0].manifest.name
    spoil = strange_digits if name == "digits" else strange_measurements
    strange = spoil(example.test_rows)
    total = len(example.test_rows) + sum(len(rows) for rows in strange.values())
    step = progress.add_task(f"ask {name} ({THREADS} clients)", total=total)
    tally = ask_all(client, example, strange, progress=lambda: progress.advance(step))
    force_fallbacks(client, example, tally)
    labels = progress.add_task(f"label {name}", total=len(tally.predictions))
    progress.advance(labels, post_labels(client, example, tally))
    return Shown(example, tally, _wait_until_judged(client, name, tally, progress=progress))


def _wait_until_judged(
    client: Client, name: str, tally: Tally, *, progress: Progress
) -> dict[str, object]:
    """Poll the report until it holds every request and label, and the shadow has caught up."""
    step = progress.add_task(f"judge {name}", total=tally.requests)
    until_s = time.monotonic() + JUDGED_S
    while True:
        report = client.report(name)
        live = next(v for v in report["versions"] if v["role"] == "live")
        shadow = report["shadow"]
        progress.update(step, completed=min(report["requests"], tally.requests))
        is_shadow_done = shadow is None or shadow["agreement"]["n"] >= tally.by_model
        is_counted = report["requests"] >= tally.requests
        if is_counted and is_shadow_done and live["accuracy"]["n"] >= tally.answered:
            return report
        if time.monotonic() > until_s:
            return report
        time.sleep(0.3)


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        yield progress
