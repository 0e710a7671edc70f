"""A guard that judges what the model answered still stops what must not go out."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import orjson
import pytest
from onnx import TensorProto, helper, numpy_helper

from guards.outlier.guard import OutlierSettings
from guards.output.settings import OutputSettings
from models.bundle import Bundle, load_guards, load_power_card, load_watched
from models.examples.mlp import IR_VERSION, OPSET
from models.manifest import (
    ConstantRung,
    Expectations,
    GuardsSpec,
    Manifest,
    RuntimeSpec,
    Signature,
    TensorSpec,
)
from models.pack import pack
from models.signing import SigningKey

WIDTH, HIDDEN, CLASSES = 8, 16, 3
SIGNATURE = Signature(
    inputs=(TensorSpec(name="features", datatype="FP32", shape=(-1, WIDTH)),),
    outputs=(
        TensorSpec(name="logits", datatype="FP32", shape=(-1, CLASSES), role="logits"),
        TensorSpec(name="embedding", datatype="FP32", shape=(-1, HIDDEN), role="embedding"),
    ),
)


def network() -> bytes:
    """One layer to the embedding, one more to the logits."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(size=(WIDTH, HIDDEN)).astype(np.float32), "w"),
        numpy_helper.from_array(rng.normal(size=(HIDDEN, CLASSES)).astype(np.float32), "v"),
    ]
    nodes = [
        helper.make_node("MatMul", ["features", "w"], ["hidden"]),
        helper.make_node("Tanh", ["hidden"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "v"], ["logits"]),
    ]
    start = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", WIDTH])
    ends = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", CLASSES]),
        helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["rows", HIDDEN]),
    ]
    graph = helper.make_graph(nodes, "classifier", [start], ends, weights)
    content: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    ).SerializeToString()
    assert onnx.load_from_string(content)
    return content


def ordinary(n: int, *, seed: int) -> np.ndarray[Any, Any]:
    """Rows near a plane: most embeddings never occur."""
    rng = np.random.default_rng(seed)
    plane = np.random.default_rng(1).normal(size=(2, WIDTH))
    return (rng.normal(size=(n, 2)) @ plane * 0.3).astype(np.float32)


def build(
    root: Path,
    key: SigningKey,
    action: str,
    *,
    output: OutputSettings = OutputSettings(),  # noqa: B008  immutable
    **settings: Any,
) -> Bundle:
    (root / "model.onnx").write_bytes(network())
    outlier = OutlierSettings.model_validate(
        {"alpha": 0.05, "action": action, "dry_run": False} | settings
    )
    manifest = Manifest(
        name="classifier",
        version="1",
        runtime=RuntimeSpec(kind="onnx", file="model.onnx", device="cpu"),
        signature=SIGNATURE,
        expectations=Expectations(latency_ms=60_000),
        fallback=(ConstantRung(outputs={"logits": [1.0, 0, 0], "embedding": [0.0] * HIDDEN}),),
        guards=GuardsSpec(outlier=outlier, output=output),
    )
    return pack(
        manifest,
        root / "model.onnx",
        reference={"features": ordinary(600, seed=2)},
        held_out={"features": ordinary(400, seed=3)},
        out=root / action,
        key=key,
    )


def body(row: list[float]) -> bytes:
    tensor = {"name": "features", "shape": [1, WIDTH], "datatype": "FP32", "data": row}
    wanted = [{"name": n} for n in ("logits", "handrail.p_value", "handrail.verdict")]
    return orjson.dumps({"inputs": [tensor], "outputs": wanted})


STRANGE = [0.9, -0.9] * (WIDTH // 2)


def test_a_model_with_logits_and_embedding_is_judged_by_them(
    tmp_path: Path, key: SigningKey
) -> None:
    bundle = build(tmp_path, key, "reject")
    outlier = load_guards(bundle).outlier
    card = load_power_card(bundle)

    assert outlier is not None
    assert outlier.reads == "outputs"
    assert card is not None
    assert card.power("column_shuffle").share > 0.5


def test_features_are_judged_where_the_manifest_says_so(tmp_path: Path, key: SigningKey) -> None:
    bundle = build(tmp_path, key, "flag", reads="features")
    outlier = load_guards(bundle).outlier

    assert outlier is not None
    assert outlier.reads == "features"


@pytest.mark.parametrize(
    ("action", "status", "served_by"),
    [("reject", 422, None), ("fallback", 200, "fallback:constant"), ("flag", 200, "model")],
)
async def test_what_is_strange_after_inference_leads_to_its_action(
    serve: Any,
    tmp_path: Path,
    key: SigningKey,
    action: str,
    status: int,
    served_by: str | None,
) -> None:
    served = await serve(build(tmp_path, key, action))

    fine = await served.client.post("/infer", content=body(ordinary(1, seed=5)[0].tolist()))
    strange = await served.client.post("/infer", content=body(STRANGE))

    assert fine.status_code == 200
    assert fine.json()["parameters"]["served_by"] == "model"
    assert strange.status_code == status
    if served_by is not None:
        assert strange.json()["parameters"]["served_by"] == served_by
    if action == "flag":
        assert strange.json()["parameters"]["flagged_rows"] == 1


async def test_what_one_guard_of_answers_stops_another_has_seen_too(
    serve: Any, tmp_path: Path, key: SigningKey
) -> None:
    """An unsure row must neither hide a stranger nor make its neighbours look like strangers."""
    unsure = OutputSettings(min_confidence=0.9999, low_confidence="fallback")
    served = await serve(build(tmp_path, key, "reject", output=unsure))
    rows = ordinary(20, seed=5)
    tensor = {"name": "features", "datatype": "FP32"}

    for content in (rows, rows[:1] * 0 + np.float32(STRANGE)):
        sent = {**tensor, "shape": content.shape, "data": content.ravel().tolist()}
        answer = await served.client.post("/infer", content=orjson.dumps({"inputs": [sent]}))

    assert answer.status_code == 422
    counts = served.versions.view.live.traffic.totals()["reject_rate"][0]
    assert counts.sum() == 21
    assert counts[:3].sum() < 5


async def test_rows_without_an_answer_are_no_strangers(
    serve: Any, tmp_path: Path, key: SigningKey
) -> None:
    """Trap: what schema or deadline stopped would look like a wave of outliers."""
    served = await serve(build(tmp_path, key, "reject"))
    hole = ordinary(1, seed=5)
    hole[0, 3] = np.nan
    raw = {"name": "features", "shape": [1, WIDTH], "datatype": "FP32"}
    header = orjson.dumps({"inputs": [raw | {"parameters": {"binary_data_size": 4 * WIDTH}}]})

    await served.client.post(
        "/infer",
        content=header + hole.tobytes(),
        headers={"Inference-Header-Content-Length": str(len(header))},
    )
    await served.client.post("/infer", content=body(ordinary(1, seed=5)[0].tolist()))
    await served.client.post("/infer", content=body(STRANGE))

    counts = served.versions.view.live.traffic.totals()
    assert counts["features"].sum(axis=1)[0] == 3
    assert counts["reject_rate"].sum() == 2  # the stranger too, although it was rejected for it
    assert counts["outputs"].sum(axis=1)[0] == 2


def test_what_p_values_were_is_learnt_from_the_answers(tmp_path: Path, key: SigningKey) -> None:
    watched = load_watched(build(tmp_path, key, "flag"))

    assert watched is not None
    p_values = watched.references["reject_rate"].counts[0]
    assert p_values.sum() == 400
    assert p_values[:3].sum() < 0.2 * 400  # at most 0.05: rare among ordinary rows
