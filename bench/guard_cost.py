"""What judging costs: each guard alone, and the outlier guard's share of a request on the wire.

Alone, on one thread: microseconds for 1, 32 and 64 rows.  On the wire, as `overhead` measures: one
`handrail up` with the same network twice, with and without the outlier guard, under wrk in turns.
Run: ``OMP_NUM_THREADS=1 python bench/guard_cost.py``; the second part needs wrk.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from load import run_wrk
from overhead import SEED, request_body, started
from results import write

from gateway.client import Client
from gateway.cluster import free_ports
from gateway.registry.keys import local_signing_key
from gateway.running import key_of
from guards.outlier.guard import OutlierGuard, OutlierSettings
from guards.outlier.heads import Answer
from guards.verdict import Rows
from models.bundle import Bundle, load_guards
from models.examples.mlp import HELD_OUT_ROWS, REFERENCE_ROWS, build_mlp, mlp_onnx, ordinary_rows
from models.manifest import GuardsSpec
from models.pack import pack
from models.signing import SigningKey

SIZES = (1, 32, 64)
WIDTHS = (8, 32, 128, 768)
CLASSES, EMBEDDING = 10, 64
CALLS = 3000  # of one row; of more rows fewer, so that each size takes as long
DISTINCT = 50  # batches that take turns: one batch alone would stay in the cache
UNGUARDED = "mlp-unguarded"


def guards() -> dict[str, tuple[Callable[[Rows], Any], int]]:
    """Fit every guard to `REFERENCE_ROWS` rows; each with the width that it judges."""
    found: dict[str, tuple[Callable[[Rows], Any], int]] = {}
    for width in WIDTHS:
        reference, held_out = draw(REFERENCE_ROWS, width), draw(HELD_OUT_ROWS, width)
        settings = OutlierSettings(detector="mixture")
        outlier = OutlierGuard.fit(reference, held_out, settings)
        found[f"outlier, {width} features"] = (outlier.check, width)
    width = CLASSES + EMBEDDING
    outputs = OutlierGuard.fit(
        draw(REFERENCE_ROWS, width),
        draw(HELD_OUT_ROWS, width),
        OutlierSettings(detector="outputs"),
        reads="outputs",
        answer=Answer(slice(0, CLASSES), is_probability=False),
    )
    found[f"outlier, {CLASSES} logits and an embedding of {EMBEDDING}"] = (outputs.check, width)
    with tempfile.TemporaryDirectory() as out:
        packed = load_guards(build_mlp(Path(out), SigningKey.create()))
    found["schema, 30 features"] = (packed.schema.check, 30)
    answers = {rows: np.full((rows, 2), 0.5, np.float32) for rows in SIZES}
    found["output, 2 probabilities"] = (lambda rows: packed.output.check(answers[len(rows)]), 2)
    return found


def names(width: int) -> tuple[str, ...]:
    return tuple(f"feature_{column}" for column in range(width))


def draw(count: int, width: int) -> Rows:
    """Correlated columns, from one source per width."""
    rng = np.random.default_rng([SEED, count])
    mixing = np.random.default_rng([SEED, width]).normal(size=(width, width)) / np.sqrt(width)
    return np.asarray(rng.normal(size=(count, width)) @ mixing, np.float32)


def alone() -> dict[str, Any]:
    """Time every guard on ordinary rows; a single one is none that has to be explained."""
    found: dict[str, Any] = {}
    for name, (check, width) in guards().items():
        found[name] = {}
        for size in SIZES:
            rows = draw(2 * DISTINCT * size, width)
            batches = [rows[at : at + size] for at in range(0, len(rows), size)]
            if size == 1:
                batches = [batch for batch in batches if check(batch).is_clear]
            times = timed(check, batches, calls=max(300, CALLS // size))
            found[name][f"{size} rows"] = {
                "p50_us": round(float(np.median(times)), 1),
                "p99_us": round(float(np.quantile(times, 0.99)), 1),
                "p50_us_per_row": round(float(np.median(times)) / size, 2),
            }
        print(name, found[name], flush=True)
    return found


def timed(check: Callable[[Rows], Any], batches: list[Rows], *, calls: int) -> list[float]:
    """Time single calls, in microseconds."""
    for batch in batches:
        check(batch)
    times = []
    for at in range(calls):
        batch = batches[at % len(batches)]
        began_ns = time.perf_counter_ns()
        check(batch)
        times.append((time.perf_counter_ns() - began_ns) / 1000)
    return times


def build_unguarded(out_dir: Path, key: SigningKey, guarded: Bundle) -> Bundle:
    """Pack the same network without the outlier guard; schema and output guard stay."""
    rng = np.random.default_rng(SEED)
    changed = {"name": UNGUARDED, "guards": GuardsSpec()}
    artifact = out_dir / "unguarded.onnx"
    artifact.write_bytes(mlp_onnx(rng))
    return pack(
        guarded.manifest.model_copy(update=changed),
        artifact,
        reference={"features": ordinary_rows(REFERENCE_ROWS, rng)},
        held_out={"features": ordinary_rows(HELD_OUT_ROWS, rng)},
        out=out_dir / UNGUARDED,
        key=key,
        feature_names=names(guarded.manifest.signature.feature_width),
    )


def on_the_wire(*, rounds: int, duration_s: int) -> dict[str, Any]:
    """Take turns between the two models: single rows and 32 of them, one connection."""
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "state"
        key = local_signing_key(state / "keys")
        guarded = build_mlp(state.parent, key)
        bundles = (guarded, build_unguarded(state.parent, key, guarded))
        port = free_ports(1)[0]
        up = ("-m", "gateway.cli", "up", "--state", str(state), "--port", str(port))
        stack.enter_context(started(*up))
        urls = {}
        with Client(f"http://127.0.0.1:{port}", key_of(state)) as client:
            for bundle in bundles:
                client.register(bundle.path, as_="live")
                name = bundle.manifest.name
                urls[name] = f"http://127.0.0.1:{port}/v2/models/{name}/infer"
        loads: dict[tuple[int, str], list[float]] = {}
        for url in urls.values():
            run_wrk(url, request_body(1), connections=1, duration_s=2)
        for _ in range(rounds):
            for rows in (1, 32):
                for name, url in urls.items():
                    load = run_wrk(url, request_body(rows), connections=1, duration_s=duration_s)
                    if load.failed:
                        raise SystemExit(f"{load.failed} requests to {name} failed")
                    loads.setdefault((rows, name), []).append(load.p50_ms)
    return {f"{rows} rows": _shares(loads, rows, guarded.manifest.name) for rows in (1, 32)}


def _shares(loads: dict[tuple[int, str], list[float]], rows: int, guarded: str) -> dict[str, Any]:
    with_ms, without_ms = loads[rows, guarded], loads[rows, UNGUARDED]
    own = statistics.median(with_ms) - statistics.median(without_ms)
    return {
        "p50_ms": with_ms,
        "p50_ms_without": without_ms,
        "outlier guard, us": round(1000 * own, 1),
        "outlier guard, us per row": round(1000 * own / rows, 2),
        "outlier guard, share of the request": round(own / statistics.median(with_ms), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration-s", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="no gateway; nothing is written")
    asked = parser.parse_args()
    figures = {"alone": alone()}
    if asked.alone:
        return
    figures["on the wire"] = on_the_wire(rounds=asked.rounds, duration_s=asked.duration_s)
    write(__file__, seed=SEED, figures=figures)
    print(json.dumps(figures["on the wire"], indent=1))


if __name__ == "__main__":
    main()
