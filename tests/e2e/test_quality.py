"""A promise of accuracy on real Ray: unknown, then kept, then broken, and people are told."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from gateway.client import Client
from models.signing import SigningKey
from tests.e2e.conftest import Running, wait_for
from tests.gateway.evaluate.traffic import World, draw_world, pack_classifier

pytestmark = pytest.mark.e2e

ROWS, AT_ONCE, BUDGET = 1500, 50, 150


def ask(running: Running, world: World) -> list[str]:
    """Ask about all rows with a stock client; return the prediction ids, in order."""
    told = []
    with triton.InferenceServerClient(running.url.removeprefix("http://")) as client:
        for start in range(0, ROWS, AT_ONCE):
            rows = world.x[start : start + AT_ONCE]
            tensor = triton.InferInput("x", list(rows.shape), "FP32")
            tensor.set_data_from_numpy(rows)
            parameters = client.infer("mlp", [tensor]).get_response()["parameters"]
            assert parameters["served_by"] == "model"
            told.append(parameters["prediction_id"])
    return told


def label(client: Client, predictions: list[str], labels: np.ndarray) -> None:
    """Send the labels of every request at once."""
    items = [
        {"prediction_id": one, "label": labels[n * AT_ONCE : (n + 1) * AT_ONCE].tolist()}
        for n, one in enumerate(predictions)
    ]
    assert client.feedback("mlp", items)["accepted"] == ROWS


def expectation(client: Client, name: str) -> dict[str, Any]:
    found = [one for one in client.report("mlp")["expectations"] if one["name"] == name]
    return found[0] if found else {"state": "", "reason": ""}


def metrics(client: Client) -> str:
    [recorder] = client.status()["processes"]["recorders"].values()
    port = recorder["metrics_port"]
    return httpx.get(f"http://127.0.0.1:{port}/metrics").text


def handrail(*arguments: str, running: Running) -> str:
    """Run a command against the gateway, and return its JSON."""
    command = [sys.executable, "-m", "gateway.cli", *arguments, "--json"]
    where = ["--state", str(running.state)]
    return subprocess.run([*command, *where], capture_output=True, text=True, check=True).stdout


def test_a_promise_is_unknown_then_kept_then_broken_and_an_alert_says_so(
    common: Running, key: SigningKey, tmp_path: Path
) -> None:
    promised = {"accuracy": 0.75, "auroc": 0.8, "worst_slice": 0.7, "latency_ms": 30_000}
    bundle = pack_classifier(
        tmp_path / "bundle" / "1",
        key=key,
        expectations=promised,
        slices=[{"by": "width", "edges": [0.0]}],
        capture={"share": 1.0},
    )
    world = draw_world(ROWS, np.random.default_rng(0))
    about = 'expectation="accuracy",model="mlp",state="violated",version="1"'
    violated = f"handrail_expectation{{{about}}}"
    with common.client() as client:
        client.register(bundle.path, as_="live")
        predictions = ask(common, world)

        wait_for(lambda: expectation(client, "estimated_accuracy")["state"], 60)
        accuracy = expectation(client, "accuracy")
        assert accuracy["state"] == "unknown"
        assert accuracy["reason"].startswith(f"no labels yet: 0 of {ROWS:,}; estimated as ")
        assert expectation(client, "estimated_accuracy")["state"] == "unknown"

        label(client, predictions, world.labels)
        assert expectation(client, "accuracy")["state"] == "holds"
        for name in ("auroc", "worst_slice"):
            wait_for(lambda name=name: expectation(client, name)["state"] == "holds", 30)
        wait_for(lambda: f"{violated} 0.0" in metrics(client), 30)
        assert client.report("mlp")["alerts"] == []

        label(client, predictions, 1 - world.labels)  # it was all wrong, as it turns out
        assert expectation(client, "accuracy")["state"] == "violated"
        wait_for(lambda: f"{violated} 1.0" in metrics(client), 30)
        [alert] = [a for a in client.report("mlp")["alerts"] if a["expectation"] == "accuracy"]
        assert alert["until_s"] is None
        assert "is below 0.75" in alert["reason"]

        told = handrail("audit", "mlp", "--budget", str(BUDGET), running=common)
        chosen = json.loads(told)["chosen"]
        audit = client.report("mlp")["audit"]
        wrong = float(np.mean(world.probabilities.argmax(axis=1) == world.labels))
        assert audit["labels"] == len(chosen)
        assert audit["low"] <= 1 - wrong <= audit["high"]
        told = json.loads(handrail("quality", "mlp", running=common))
        assert {one["metric"] for one in told["performance"]} >= {"accuracy", "macro_f1"}
