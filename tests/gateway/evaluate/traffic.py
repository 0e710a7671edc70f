"""Captured traffic of a two-class model, and its labels, drawn from a world that is known."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from gateway.evaluate.feedback import Feedback
from gateway.evaluate.feedback_store import FeedbackStore
from gateway.evaluate.judgements import Judgements
from gateway.evaluate.quality_watch import QualityWatch
from gateway.evaluate.report import Report, report
from gateway.record.decision import Decision, Payload, Tensor
from gateway.record.evidence import Evidence
from gateway.registry.artifacts import ArtifactStore
from gateway.registry.database import open_database
from gateway.registry.quality import QualityStore
from gateway.registry.registry import Registry
from models.bundle import Bundle
from models.manifest import Manifest
from models.pack import pack
from models.signing import SigningKey
from tests.gateway.evaluate.decisions import ARRIVED_NS, decide

ALPHA = 0.05
KEY = SigningKey.create()


@dataclass(frozen=True)
class World:
    """Rows, what a calibrated model answers to them, and what is true."""

    x: np.ndarray  # (n, 2)
    probabilities: np.ndarray  # (n, 2)
    labels: np.ndarray  # (n,)


def draw_world(n: int, rng: np.random.Generator, *, hardness: float = 0.0) -> World:
    """Draw rows; the model knows P(label) exactly, and less of it as rows grow harder."""
    x = rng.normal(size=(n, 2)).astype(np.float32)
    second = 1 / (1 + np.exp(-3 * (1 - hardness) * x[:, 0].astype(np.float64)))
    labels = (rng.random(n) < second).astype(np.int64)
    return World(x, np.column_stack([1 - second, second]).astype(np.float32), labels)


def pack_classifier(
    out: Path, version: str = "1", *, labelled: bool = True, key: SigningKey = KEY, **changes: Any
) -> Bundle:
    """Pack a bundle of a linear classifier whose answers are those of `draw_world`."""
    weights = np.array([[0, 3], [0, 0]], np.float32)
    artifact = _linear(out, weights, output="probabilities", softmax=True)
    manifest = Manifest.model_validate(
        {
            "name": "mlp",
            "version": version,
            "runtime": {"kind": "onnx", "file": "model.onnx", "device": "cpu"},
            "signature": {
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
                "outputs": [
                    {
                        "name": "probabilities",
                        "datatype": "FP32",
                        "shape": [-1, 2],
                        "role": "probabilities",
                    }
                ],
            },
            **changes,
        }
    )
    rng = np.random.default_rng(7)
    reference, held_out = draw_world(500, rng), draw_world(2000, rng)
    return pack(
        manifest,
        artifact,
        reference={"x": reference.x},
        held_out={"x": held_out.x},
        out=out,
        key=key,
        feature_names=("height", "width"),
        held_out_labels=held_out.labels if labelled else None,
    )


def pack_regressor(out: Path, **changes: Any) -> Bundle:
    """Pack a model that answers the first feature for a label that is it, and some noise."""
    manifest = Manifest.model_validate(
        {
            "name": "mlp",
            "version": "1",
            "runtime": {"kind": "onnx", "file": "model.onnx", "device": "cpu"},
            "signature": {
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
                "outputs": [
                    {"name": "value", "datatype": "FP32", "shape": [-1, 1], "role": "value"}
                ],
            },
            **changes,
        }
    )
    rng = np.random.default_rng(7)
    reference, held_out = rng.normal(size=(2, 1000, 2)).astype(np.float32)
    return pack(
        manifest,
        _linear(out, np.array([[1.0], [0.0]], np.float32), output="value"),
        reference={"x": reference},
        held_out={"x": held_out},
        out=out,
        key=KEY,
        held_out_labels=noisy(held_out, rng),
    )


def noisy(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Label rows by their first feature; the noise grows with the size of the second."""
    spread = 0.1 + 0.5 * np.abs(x[:, 1])
    return np.asarray(x[:, 0] + spread * rng.normal(size=len(x)))


def _linear(out: Path, weights: np.ndarray, *, output: str, softmax: bool = False) -> Path:
    """Write an ONNX model that multiplies ``x`` with weights."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node("MatMul", ["x", "w"], ["z" if softmax else output])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["z"], [output], axis=1))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", weights.shape[1]])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    artifact = out.parent / f"{out.name}.onnx"
    artifact.parent.mkdir(parents=True, exist_ok=True)
    artifact.write_bytes(model.SerializeToString())
    return artifact


class Service:
    """A database, an evidence table and a registered model; the evaluator's parts, by hand."""

    def __init__(self, root: Path, bundle: Bundle) -> None:
        self.url = f"sqlite:///{root}/handrail.db"
        self.engine = open_database(self.url)
        self.registry = Registry(
            self.engine,
            ArtifactStore(f"file://{root}/artifacts"),
            clock=lambda: ARRIVED_NS / 1e9 - 1,
        )
        self.registry.register(bundle, as_="live", trust_code=False, who="test")
        self.evidence = Evidence(f"{root}/evidence")
        self.store = QualityStore(self.url)
        self.bundle = bundle
        self.served: list[Decision] = []
        self.now_ns = ARRIVED_NS + 10**12
        self.watch = self.restart()

    def restart(self) -> QualityWatch:
        """Begin again with what is stored, as another evaluator would."""
        self.watch = QualityWatch(
            self.engine,
            self.registry,
            self.evidence,
            self.store,
            lambda _: self.bundle,
            alpha=ALPHA,
            clock_ns=lambda: self.now_ns,
        )
        return self.watch

    def serve(
        self, world: World, *, arrived_ns: np.ndarray | None = None, **changes: Any
    ) -> list[Decision]:
        """Answer each row in a request of its own, captured and judged."""
        decisions = captured_decisions(world, first=len(self.served), **changes)
        if arrived_ns is not None:
            decisions = [
                replace(decision, arrived_ns=int(at))
                for decision, at in zip(decisions, arrived_ns, strict=True)
            ]
        self.keep(decisions)
        return decisions

    def keep(self, decisions: list[Decision]) -> None:
        """Take decisions into the evidence, and judge them."""
        self.served += decisions
        self.evidence.append(decisions, through={})
        Judgements(self.engine).record(decisions)

    def label(
        self, decisions: list[Decision], labels: np.ndarray, *, received_ns: int | None = None
    ) -> None:
        """Say what was true."""
        store = (
            FeedbackStore(self.url)
            if received_ns is None
            else FeedbackStore(self.url, clock_ns=lambda: received_ns)
        )
        items = [
            Feedback(d.prediction_id, label=label.item())
            for d, label in zip(decisions, labels, strict=True)
        ]
        if items:
            store.add("mlp", items)

    def report(self) -> Report:
        """Look at everything once."""
        self.watch.tick()
        return report(self.engine, self.registry, "mlp", alpha=ALPHA)


def captured_decisions(world: World, *, first: int = 0, **changes: Any) -> list[Decision]:
    """Decide about each row in a request of its own, captured."""
    return [
        decide(
            first + n,
            predicted=(float(world.probabilities[n].argmax()),),
            payload=_payload(world, n),
            **changes,
        )
        for n in range(len(world.labels))
    ]


def _payload(world: World, n: int) -> Payload:
    inputs, outputs = world.x[n : n + 1], world.probabilities[n : n + 1]
    return Payload(
        (Tensor("x", "FP32", inputs.shape, inputs.tobytes()),),
        (Tensor("probabilities", "FP32", outputs.shape, outputs.tobytes()),),
    )
