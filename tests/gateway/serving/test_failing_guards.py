"""A guard that fails itself: its settings decide, it is counted, and nobody gets a 5xx."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from gateway.record.metrics import Metrics
from guards.catalog import GUARDS
from guards.verdict import Rows, Verdict
from models.bundle import Bundle, load_reference
from models.examples.example import Example
from models.manifest import Manifest
from models.pack import pack
from models.signing import SigningKey

# The schema contract has no such setting: a row that nobody could check is never let through.
ALWAYS_CLOSED = frozenset({"schema"})
CASES = [
    (name, on_error)
    for name in GUARDS
    for on_error in ("open", "closed")
    if not (on_error == "open" and name in ALWAYS_CLOSED)
]


def repack(
    cancer: Example, out: Path, key: SigningKey, *, on_error: str, has_ladder: bool
) -> Bundle:
    bundle = cancer.bundles[0]
    told = bundle.manifest.model_dump(by_alias=True)
    told["guards"]["outlier"] |= {"on_error": on_error, "dry_run": False}
    told["guards"]["output"] = {"on_error": on_error}
    if not has_ladder:
        told["fallback"] = ()
    rows = load_reference(bundle).inputs
    return pack(
        Manifest.model_validate(told),
        bundle.path / "model.onnx",
        reference=rows,
        held_out={"measurements": rows["measurements"][:150]},
        out=out,
        key=key,
    )


def fail(guard: Any, rows: Rows) -> Verdict:
    raise FloatingPointError("damaged")


def body(rows: np.ndarray) -> bytes:
    tensor = {
        "name": "measurements",
        "shape": list(rows.shape),
        "datatype": "FP32",
        "data": rows.reshape(-1).tolist(),
    }
    return orjson.dumps({"inputs": [tensor]})


@pytest.mark.parametrize("has_ladder", [True, False])
@pytest.mark.parametrize(("name", "on_error"), CASES)
async def test_a_guard_that_fails_never_becomes_a_5xx_and_is_counted(
    serve: Any,
    cancer: Example,
    key: SigningKey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    on_error: str,
    has_ladder: bool,
) -> None:
    served = await serve(
        repack(cancer, tmp_path / "bundle", key, on_error=on_error, has_ladder=has_ladder)
    )
    monkeypatch.setattr(GUARDS[name], "check", fail)

    response = await served.client.post("/infer", content=body(cancer.test_rows[:3]))

    told = response.json()
    if on_error == "open":
        assert response.status_code == 200, told
        assert told["parameters"]["served_by"] == "model"
        assert told["parameters"]["flagged_rows"] == 3
    elif has_ladder:
        assert response.status_code == 200, told
        assert told["parameters"]["served_by"] == "fallback:constant"
        assert told["parameters"]["fallback_reason"] == name
    else:
        assert response.status_code == 422, told
        assert "guard_failed" in told["error"]
    assert "damaged" not in response.text
    [decision] = served.kept.decisions
    assert decision.failed_guards == (name,)
    metrics = Metrics(lag_s=lambda: 0.0)
    metrics.observe(decision, kept=False)
    labels = {"model": decision.model, "version": decision.version, "guard": name}
    assert metrics.registry.get_sample_value("handrail_guard_failures_total", labels) == 1
