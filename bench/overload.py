"""What ten times too much load does: goodput, refusals, lateness, and the time to recover.

A model of a fixed cost per row, which batching does not make cheaper, gets an ordinary load, then
ten times what it can answer, then the ordinary load again: once without a ladder, once with a
constant below it.  Arrivals keep their schedule (see `open_loop`).  Run:
``python bench/overload.py``; on two cores the model has one, and all the rest the other.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from open_loop import Outcome, http_request, poisson_arrivals, run_open_loop
from overhead import started
from results import write

from gateway.client import Client
from gateway.cluster import free_ports
from gateway.registry.keys import local_signing_key
from gateway.running import key_of
from models.bundle import Bundle
from models.manifest import ConstantRung, Expectations, Manifest, RuntimeSpec, Signature, TensorSpec
from models.pack import pack
from models.signing import SigningKey

SEED = 0
SERVICE_MS = 20.0
BUDGET_MS = 200.0
GRACE_MS = 50.0  # an answer later than budget and grace is a broken promise
ORDINARY = 0.6  # of the capacity: there chance alone hardly ever fills the queue
OVERLOAD = 10.0
CHANNELS, PIXELS = 64, 28  # a layer of a small vision model: compute-bound, so linear in rows
SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 1)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 1), role="value"),),
)


def layers_onnx(layers: int) -> bytes:
    """Write a network of so many equal convolutions between one number in and one out."""
    rng = np.random.default_rng(SEED)
    kernel = rng.standard_normal((CHANNELS, CHANNELS, 3, 3)) * np.sqrt(2 / (9 * CHANNELS))
    image = np.array([1, CHANNELS, PIXELS, PIXELS])
    constants = {
        "kernel": kernel.astype(np.float32),
        "image": rng.standard_normal(image).astype(np.float32),
        "column": np.array([-1, 1, 1, 1]),
        "axes": np.array([1, 2, 3]),
        "flat": np.array([-1, 1]),
    }
    nodes = [
        helper.make_node("Reshape", ["x", "column"], ["x4"]),
        helper.make_node("Add", ["x4", "image"], ["h0"]),
    ]
    for i in range(layers):
        nodes.append(helper.make_node("Conv", [f"h{i}", "kernel"], [f"c{i}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"h{i + 1}"]))
    nodes.append(helper.make_node("ReduceMean", [f"h{layers}", "axes"], ["mean"]))
    nodes.append(helper.make_node("Reshape", ["mean", "flat"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def row_ms(layers: int) -> float:
    """Time one row on one thread, in a batch of four."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        layers_onnx(layers), sess_options=options, providers=["CPUExecutionProvider"]
    )
    rows = {"x": np.ones((4, 1), np.float32)}
    took_s = []
    for _ in range(9):
        began_s = time.perf_counter()
        session.run(None, rows)
        took_s.append(time.perf_counter() - began_s)
    return float(np.median(took_s)) * 1000 / len(rows["x"])


def build(out: Path, key: SigningKey, layers: int, *, ladder: str) -> Bundle:
    """Pack the model with ``ladder`` (constant or none) below it."""
    artifact = out / f"{ladder}.onnx"
    onnx.save(onnx.load_from_string(layers_onnx(layers)), artifact)
    manifest = Manifest(
        name=f"overload-{ladder}",
        version="1",
        runtime=RuntimeSpec(kind="onnx", file="model.onnx", device="cpu"),
        signature=SIGNATURE,
        expectations=Expectations(latency_ms=BUDGET_MS),
        fallback=(ConstantRung(outputs={"y": [0.0]}),) if ladder == "constant" else (),
    )
    rows = {"x": np.linspace(0, 1, 16, dtype=np.float32)[:, None]}
    return pack(
        manifest, artifact, reference=rows, held_out=rows, out=out / ladder, key=key, golden_rows=8
    )


def by_whom(outcome: Outcome) -> str:
    """Say who answered: model, ladder, shed, or failed with the status."""
    if outcome.status == 200:
        served_by = json.loads(outcome.body)["parameters"]["served_by"]
        return "model" if served_by == "model" else "ladder"
    return "shed" if outcome.status == 503 else f"failed {outcome.status}"


async def saturate(url: str, request: bytes, *, clients: int, for_s: float) -> float:
    """Give the model's answers per second, to clients that each wait for the last one."""
    end_s = time.perf_counter() + for_s
    answered = 0

    async def client() -> None:
        nonlocal answered
        while time.perf_counter() < end_s:
            [one] = await run_open_loop(
                url, lambda _: request, arrivals_s=np.zeros(1), keep_bodies=True
            )
            answered += by_whom(one) == "model"

    began_s = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return answered / (time.perf_counter() - began_s)


def figures(outcomes: list[Outcome], starts_s: list[float], peak_per_s: float) -> dict[str, Any]:
    """Reckon what is promised from the three phases; ``starts_s`` ends with the end of the last."""
    phases = [
        [one for one in outcomes if begin_s <= one.due_s < end_s]
        for begin_s, end_s in pairwise(starts_s)
    ]
    before, overload, after = phases
    goodput_per_s = _by(overload)["model"] / (starts_s[2] - starts_s[1])
    refused_ms = [one.took_s * 1000 for one in overload if one.status == 503]
    late = sum(one.status == 0 or one.took_s * 1000 > BUDGET_MS + GRACE_MS for one in outcomes)
    return {
        "peak_per_s": peak_per_s,
        "goodput_per_s": goodput_per_s,
        "goodput / peak": goodput_per_s / peak_per_s,
        "refusal_p99_ms": float(np.quantile(refused_ms, 0.99)) if refused_ms else None,
        "recovery_s": _recovery_s(before, after, starts_s[2]),
        "late_share": late / len(outcomes),
        "model_p99_ms": _p99_ms([one for one in overload if by_whom(one) == "model"]),
        "answered by": {
            name: dict(_by(phase))
            for name, phase in zip(("before", "overload", "after"), phases, strict=True)
        },
    }


def _by(phase: list[Outcome]) -> Counter[str]:
    return Counter(by_whom(outcome) for outcome in phase)


def _p99_ms(outcomes: list[Outcome]) -> float | None:
    return float(np.quantile([one.took_s * 1000 for one in outcomes], 0.99)) if outcomes else None


def _recovery_s(before: list[Outcome], after: list[Outcome], end_s: float) -> int | None:
    """Find the first second whose share of model answers is that of before, less a twentieth."""
    usual = _by(before)["model"] / len(before)
    for second in range(int(after[-1].due_s - end_s) + 1):
        of = [one for one in after if second <= one.due_s - end_s < second + 1]
        if of and _by(of)["model"] / len(of) >= 0.95 * usual:
            return second
    return None


async def measure(url: str, *, ordinary_s: float, overload_s: float) -> dict[str, Any]:
    """Find the capacity, then run the three phases without a pause between them."""
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [0.5]}
    request = http_request(url, json.dumps({"inputs": [tensor]}).encode())
    await saturate(url, request, clients=4, for_s=2)  # the cost profile learns
    peak_per_s = await saturate(url, request, clients=4, for_s=ordinary_s / 2)
    rng = np.random.default_rng(SEED)
    starts_s, arrivals_s = [0.0], []
    for share, for_s in (ORDINARY, ordinary_s), (OVERLOAD, overload_s), (ORDINARY, ordinary_s):
        arrivals_s.append(starts_s[-1] + poisson_arrivals(share * peak_per_s, for_s, rng))
        starts_s.append(starts_s[-1] + for_s)
    outcomes = await run_open_loop(
        url, lambda _: request, arrivals_s=np.concatenate(arrivals_s), keep_bodies=True
    )
    return figures(outcomes, starts_s, peak_per_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ordinary-s", type=float, default=20.0)
    parser.add_argument("--overload-s", type=float, default=30.0)
    asked = parser.parse_args()
    per_layer_ms = row_ms(9) - row_ms(1)
    layers = max(1, round(SERVICE_MS / (per_layer_ms / 8)))
    found: dict[str, Any] = {"layers": layers, "row_ms": row_ms(layers)}
    with tempfile.TemporaryDirectory() as scratch:
        state, [port] = Path(scratch) / "state", free_ports(1)
        key = local_signing_key(state / "keys")
        ladders = ("none", "constant")
        bundles = [build(Path(scratch), key, layers, ladder=ladder) for ladder in ladders]
        up = ("-m", "gateway.cli", "up", "--state", str(state), "--port", str(port))
        with started(*up):
            for bundle, ladder in zip(bundles, ladders, strict=True):
                with Client(f"http://127.0.0.1:{port}", key_of(state)) as client:
                    client.register(bundle.path, as_="live")
                url = f"http://127.0.0.1:{port}/v2/models/{bundle.manifest.name}/infer"
                spans = {"ordinary_s": asked.ordinary_s, "overload_s": asked.overload_s}
                found[f"ladder {ladder}"] = asyncio.run(measure(url, **spans))
    print(json.dumps(found, indent=1))
    print(write(__file__, seed=SEED, figures=found))


if __name__ == "__main__":
    main()
