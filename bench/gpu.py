"""What the gateway leaves of a GPU: rows per second behind it, against those of the bare runtime.

A network of ResNet-50's size and shape in FP16, with weights that were never trained.  First the
bare onnxruntime session is timed at every batch size, then the gateway under closed loops of more
and more clients; of each, the most rows per second whose p99 stays within the budget counts.
Run: ``python bench/gpu.py`` on a machine with a GPU; ``--smoke`` does the same on the CPU with a
tiny network, which shows that it works and nothing else.  Needs wrk.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from load import run_wrk
from onnx import TensorProto, helper, numpy_helper
from overhead import started
from results import write

from gateway.client import Client
from gateway.cluster import free_ports
from gateway.registry.keys import local_signing_key
from gateway.running import key_of
from gateway.wire import HEADER_LENGTH, encode_request
from models.bundle import Bundle
from models.manifest import Capture, Expectations, Manifest, RuntimeSpec, Signature, TensorSpec
from models.pack import pack
from models.runtime.cuda import has_cuda_device
from models.runtime.onnx import CPU, CUDA, cuda_options, load_cuda_libraries
from models.signing import SigningKey

SEED = 0
BUDGET_MS = 50.0
FAILED_SHARE = 0.01  # of requests; a level at which more fail is not one that holds
EXPANSION = 4  # of a bottleneck block, as in ResNet-50
DAMPING = 0.2  # of a block's last layer: without training, sums of many blocks outgrow FP16


@dataclass(frozen=True)
class Network:
    """How large it is."""

    pixels: int
    width: int  # channels of the first stage
    blocks: tuple[int, ...]  # per stage
    classes: int
    precision: int  # of TensorProto


RESNET50 = Network(224, 64, (3, 4, 6, 3), 1000, TensorProto.FLOAT16)
TINY = Network(32, 8, (1, 1), 10, TensorProto.FLOAT)  # a CPU has no FP16 of its own


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    network: Network
    batches: tuple[int, ...]  # rows of one bare call
    rows: int  # of one request
    clients: tuple[int, ...]
    for_s: int  # of each level


FULL = Plan(RESNET50, (1, 2, 4, 8, 16, 32, 64, 128, 256), 8, (1, 2, 4, 6, 8, 12, 16, 24, 32), 10)
SMOKE = Plan(TINY, (1, 4, 16), 4, (1, 4), 2)


class Graph:
    """An ONNX graph that grows by one node at a time."""

    def __init__(self, network: Network) -> None:
        self.dtype = helper.tensor_dtype_to_np_dtype(network.precision)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(SEED)

    def constant(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"h{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def conv(
        self, source: str, shape: tuple[int, int, int], *, stride: int = 1, scale: float = 1.0
    ) -> str:
        """Add a convolution ``(channels out, channels in, side)``, batch norm folded into it."""
        out, into, side = shape
        spread = scale * np.sqrt(2 / (into * side * side))
        kernel = self.rng.normal(0, spread, (out, into, side, side)).astype(self.dtype)
        bias = np.zeros(out, self.dtype)
        pads = [side // 2] * 4
        weights = self.constant(kernel), self.constant(bias)
        return self.add("Conv", source, *weights, strides=[stride, stride], pads=pads)


def resnet_onnx(network: Network) -> onnx.ModelProto:
    """Write the network: bytes of an image in, probabilities out."""
    graph = Graph(network)
    scaled = graph.add("Cast", "image", to=network.precision)
    scaled = graph.add("Mul", scaled, graph.constant(np.array(1 / 255, graph.dtype)))
    hidden = graph.add("Relu", graph.conv(scaled, (network.width, 3, 7), stride=2))
    hidden = graph.add("MaxPool", hidden, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    into = network.width
    for stage, blocks in enumerate(network.blocks):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            inner = network.width << stage
            hidden = _bottleneck(graph, hidden, into=into, inner=inner, stride=stride)
            into = inner * EXPANSION
    pooled = graph.add("Flatten", graph.add("GlobalAveragePool", hidden))
    head = graph.rng.normal(0, 0.01, (into, network.classes)).astype(graph.dtype)
    bias = np.zeros(network.classes, graph.dtype)
    logits = graph.add("Gemm", pooled, graph.constant(head), graph.constant(bias))
    softmax = graph.add("Softmax", logits, axis=1)
    graph.nodes.append(helper.make_node("Cast", [softmax], ["probabilities"], to=TensorProto.FLOAT))
    shape = ["n", 3, network.pixels, network.pixels]
    answer = ["n", network.classes]
    model = helper.make_graph(
        graph.nodes,
        "resnet",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, answer)],
        graph.weights,
    )
    return helper.make_model(model, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _bottleneck(graph: Graph, source: str, *, into: int, inner: int, stride: int) -> str:
    out = inner * EXPANSION
    hidden = graph.add("Relu", graph.conv(source, (inner, into, 1)))
    hidden = graph.add("Relu", graph.conv(hidden, (inner, inner, 3), stride=stride))
    hidden = graph.conv(hidden, (out, inner, 1), scale=DAMPING)
    short = source if into == out else graph.conv(source, (out, into, 1), stride=stride)
    return graph.add("Relu", graph.add("Add", hidden, short))


def images(network: Network, rows: int) -> np.ndarray:
    """Draw images of noise."""
    shape = (rows, 3, network.pixels, network.pixels)
    return np.random.default_rng(SEED).integers(0, 256, shape, dtype=np.uint8)


def build(out: Path, key: SigningKey, network: Network, *, device: str) -> Bundle:
    """Pack the network, with the guards every model has."""
    artifact = out / "source.onnx"
    onnx.save(resnet_onnx(network), artifact)
    image = TensorSpec(
        name="image", datatype="UINT8", shape=(-1, 3, network.pixels, network.pixels)
    )
    answer = TensorSpec(
        name="probabilities", datatype="FP32", shape=(-1, network.classes), role="probabilities"
    )
    manifest = Manifest(
        name="resnet",
        version="1",
        runtime=RuntimeSpec.model_validate(
            {"kind": "onnx", "file": "model.onnx", "device": device}
        ),
        signature=Signature(inputs=(image,), outputs=(answer,)),
        expectations=Expectations(latency_ms=BUDGET_MS),
        capture=Capture(share=0.01),  # an image has 150 kB
    )
    rows = {"image": images(network, 16)}
    return pack(
        manifest,
        artifact,
        reference=rows,
        held_out=rows,
        out=out / "resnet",
        key=key,
        golden_rows=8,
    )


def time_bare(model: Path, plan: Plan, *, device: str) -> list[dict[str, float]]:
    """Call a session of the gateway's own settings at every batch size, until one is too slow."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    spec = RuntimeSpec(kind="onnx", file=model.name)
    providers = [CPU]
    if device == "cuda":
        load_cuda_libraries()
        providers = [(CUDA, cuda_options(spec)), CPU]
    session = onnxruntime.InferenceSession(model, options, providers=providers)
    levels = []
    for rows in plan.batches:
        inputs = {"image": images(plan.network, rows)}
        for _ in range(3):
            session.run(None, inputs)
        took_s: list[float] = []
        until_s = time.perf_counter() + plan.for_s
        while time.perf_counter() < until_s:
            began_s = time.perf_counter()
            session.run(None, inputs)
            took_s.append(time.perf_counter() - began_s)
        p50_ms, p99_ms = (float(np.quantile(took_s, q)) * 1000 for q in (0.5, 0.99))
        rows_per_s = rows / float(np.mean(took_s))
        levels.append(
            {"batch_rows": rows, "rows_per_s": rows_per_s, "p50_ms": p50_ms, "p99_ms": p99_ms}
        )
        if p50_ms > 2 * BUDGET_MS:
            break
    return levels


def time_gateway(url: str, plan: Plan) -> list[dict[str, float]]:
    """Let more and more clients each send the next request when it has the last answer."""
    inputs = {"image": images(plan.network, plan.rows)}
    body, head_bytes = encode_request(
        inputs, timeout_ms=None, outputs=(), binary=True, request_id=None
    )
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(head_bytes)}
    levels = []
    for clients in plan.clients:
        load = run_wrk(url, body, connections=clients, duration_s=plan.for_s, headers=headers)
        sent = load.requests_per_s * plan.for_s
        failed_share = min(load.failed / sent, 1.0) if sent else 1.0
        levels.append(
            {
                "clients": clients,
                "rows_per_s": load.requests_per_s * plan.rows * (1 - failed_share),
                "p50_ms": load.p50_ms,
                "p99_ms": load.p99_ms,
                "failed_share": failed_share,
            }
        )
    return levels


def best(levels: list[dict[str, float]]) -> float | None:
    """Find the most rows per second that keep the budget; None: no level does."""
    holding = [
        level["rows_per_s"]
        for level in levels
        if level["p99_ms"] <= BUDGET_MS and level.get("failed_share", 0.0) <= FAILED_SHARE
    ]
    return max(holding, default=None)


def measure(plan: Plan, *, device: str) -> dict[str, Any]:
    """Time bare, gateway, and bare again: what the machine does meanwhile shows in the two."""
    with tempfile.TemporaryDirectory() as scratch:
        state = Path(scratch) / "state"
        bundle = build(
            Path(scratch), local_signing_key(state / "keys"), plan.network, device=device
        )
        model = bundle.path / "model.onnx"
        bare = [time_bare(model, plan, device=device)]
        [port] = free_ports(1)
        with started("-m", "gateway.cli", "up", "--state", str(state), "--port", str(port)):
            with Client(f"http://127.0.0.1:{port}", key_of(state)) as client:
                client.register(bundle.path, as_="live")
            gateway = time_gateway(f"http://127.0.0.1:{port}/v2/models/resnet/infer", plan)
        bare.append(time_bare(model, plan, device=device))
    bests = [best(levels) for levels in bare]
    alone = max((rows for rows in bests if rows is not None), default=None)
    behind = best(gateway)
    return {
        "device": device,
        "budget_ms": BUDGET_MS,
        "rows per request": plan.rows,
        "best rows_per_s": {"bare": alone, "handrail": behind},
        "ratio, handrail / bare": round(behind / alone, 3) if behind and alone else None,
        "bare": bare,
        "handrail": gateway,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a tiny network on the CPU")
    parser.add_argument("--for-s", type=int, default=FULL.for_s, help="of each level")
    asked = parser.parse_args()
    if asked.smoke:
        print(json.dumps(measure(SMOKE, device="cpu"), indent=1))  # no result: nothing to keep
        return
    if not (has_cuda_device() and CUDA in onnxruntime.get_available_providers()):
        print(
            "this benchmark needs a CUDA device; --smoke runs it small on the CPU", file=sys.stderr
        )
        raise SystemExit(2)
    plan = replace(FULL, for_s=asked.for_s)
    figures = {"gpu": torch.cuda.get_device_name(), **measure(plan, device="cuda")}
    print(json.dumps(figures["best rows_per_s"], indent=1))
    print(write(__file__, seed=SEED, figures=figures))


if __name__ == "__main__":
    main()
