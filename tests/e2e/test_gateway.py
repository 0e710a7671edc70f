"""The gateway as its users meet it: real Ray Serve, real HAProxy, real OTLP, real labels."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from gateway.client import AnswerError
from gateway.cluster import PORTS
from gateway.record.evidence import Evidence
from models.examples.example import Example
from tests.e2e.conftest import Running, wait_for
from tests.e2e.load import load

pytestmark = pytest.mark.e2e

SWITCH_S = 2.0  # promote and rollback reach every replica within this
COMMIT_WINDOW_S = 0.1  # far above the journal's 5 ms, far below the time between kill and check


def processes(running: Running, name: str) -> list[psutil.Process]:
    """Find processes of this gateway by a part of their command line."""
    return [
        process
        for process in psutil.Process(running.process.pid).children(recursive=True)
        if name in " ".join(process.cmdline())
    ]


def recorded(running: Running, since_ns: int) -> set[str]:
    """Read the ids of all predictions in the evidence."""
    evidence = Evidence(str(running.state / "evidence"))
    return {decision.prediction_id for _, decision in evidence.read(since_ns=since_ns)}


def test_a_prediction_is_answered_labelled_and_judged(
    shared: Running, examples: tuple[Example, Example]
) -> None:
    _, cancer = examples
    with shared.client() as client:
        answers = [
            client.infer("breast_cancer", {"measurements": row[None]}, binary=bool(i % 2))
            for i, row in enumerate(cancer.test_rows)
        ]
        items = [
            {"prediction_id": answer.prediction_id, "label": int(label)}
            for answer, label in zip(answers, cancer.test_labels, strict=True)
        ]
        client.feedback("breast_cancer", items)
        right = sum(
            int(np.argmax(answer.outputs["probabilities"])) == int(label)
            for answer, label in zip(answers, cancer.test_labels, strict=True)
        )

        def judged() -> bool:
            [live] = client.report("breast_cancer")["versions"]
            return bool(live["accuracy"]["n"] == len(items))

        wait_for(judged, 20)
        [live] = client.report("breast_cancer")["versions"]
    assert live["accuracy"]["hits"] == right
    assert {answer.served_by for answer in answers} == {"model"}


def test_drift_is_reported_with_the_feature_that_drifts(
    shared: Running, examples: tuple[Example, Example]
) -> None:
    """One instrument measures too high: in the report, on the metrics page, and no page for it."""
    _, cancer = examples
    name = "mean_texture"
    rows = cancer.test_rows.copy()
    rows[:, cancer.feature_names.index(name)] *= 1.5

    def found() -> dict[str, Any]:
        drift = client.report("breast_cancer")["drift"] or {"monitors": []}
        return {monitor["monitor"]: monitor for monitor in drift["monitors"]}

    with shared.client() as client:
        began_s = time.time()
        for part in np.array_split(rows, 20):
            client.infer("breast_cancer", {"measurements": part})
        wait_for(lambda: found().get("features", {}).get("state") == "alarm", 20)
        features = found()["features"]
        [recorder] = client.status()["processes"]["recorders"].values()

        def shown() -> bool:
            page = httpx.get(f"http://127.0.0.1:{recorder['metrics_port']}/metrics").text
            labels = '{model="breast_cancer",monitor="features",version="1"}'
            return f"handrail_drift_alarm{labels} 1.0" in page

        client.infer("breast_cancer", {"measurements": rows[:1]})  # the page follows the traffic
        wait_for(shown, 10)

    assert not features["pages"]
    assert features["alarmed_s"] > began_s
    named = {channel["name"]: channel for channel in features["channels"] if channel["named"]}
    assert name in named
    assert "high" in named[name]["how"]
    assert named[name]["kolmogorov_smirnov"] > 0.2  # ordinary rows came before


def test_a_shadow_sees_the_traffic_and_never_answers(
    shared: Running, examples: tuple[Example, Example]
) -> None:
    digits, _ = examples
    with shared.client() as client:
        for row in digits.test_rows[:20]:
            client.infer("digits", {"image": row[None]})
        with pytest.raises(AnswerError) as refused:
            client.infer("digits", {"image": digits.test_rows[:1]}, version="2")

        wait_for(lambda: client.report("digits")["shadow"]["agreement"]["n"] >= 20, 30)

    assert refused.value.status == 404


def test_an_impossible_deadline_is_answered_by_the_fallback_and_marked(
    shared: Running, examples: tuple[Example, Example]
) -> None:
    with shared.client() as client:
        answer = client.infer("digits", {"image": examples[0].test_rows[:1]}, timeout_ms=0.001)

    assert answer.served_by == "fallback:constant"
    assert answer.parameters["fallback_reason"] == "deadline"


def test_promote_and_rollback_reach_every_replica_in_time_and_fail_no_request(
    shared: Running, examples: tuple[Example, Example]
) -> None:
    inputs = {"image": examples[0].test_rows[:50]}
    with shared.client() as client, load(shared.url, "digits", inputs) as seen:
        time.sleep(1)
        promoted_s = time.monotonic()
        client.promote("digits")
        time.sleep(SWITCH_S + 1)
        rolled_back_s = time.monotonic()
        client.rollback("digits")
        time.sleep(SWITCH_S + 1)

    digest = {bundle.digest: bundle.manifest.version for bundle in examples[0].bundles}
    served = [(at, digest[str(a.parameters["bundle_digest"])]) for at, a in seen.answers]
    assert not seen.failed
    assert {v for at, v in served if at < promoted_s} == {"1"}
    assert {v for at, v in served if promoted_s + SWITCH_S < at < rolled_back_s} == {"2"}
    assert {v for at, v in served if at > rolled_back_s + SWITCH_S} == {"1"}


def test_a_killed_replica_loses_no_answered_prediction_and_behind_haproxy_no_request(
    shared: Running, examples: tuple[Example, Example]
) -> None:
    began_ns = time.time_ns()
    inputs = {"measurements": examples[1].test_rows}
    with load(shared.url, "breast_cancer", inputs) as seen:
        time.sleep(1)
        replica = processes(shared, "ServeReplica:model-breast_cancer")[0]
        killed_s = time.monotonic()
        replica.send_signal(signal.SIGKILL)
        time.sleep(4)

    safe = {
        answer.prediction_id
        for at, answer in seen.answers
        if not killed_s - COMMIT_WINDOW_S < at < killed_s + COMMIT_WINDOW_S
    }
    # Serve's own proxy repeats no request that a replica had accepted.
    assert not seen.failed or shared.proxy == "serve"
    assert len(safe) > 100
    wait_for(lambda: safe <= recorded(shared, began_ns), 20)


def test_a_killed_recorder_comes_back_and_records_everything_once(
    shared: Running, examples: tuple[Example, Example]
) -> None:
    began_ns = time.time_ns()
    inputs = {"measurements": examples[1].test_rows}
    with load(shared.url, "breast_cancer", inputs) as seen:
        time.sleep(1)
        [recorder] = processes(shared, "Recorder")
        recorder.send_signal(signal.SIGKILL)
        time.sleep(3)

    asked = {answer.prediction_id for _, answer in seen.answers}
    assert not seen.failed
    wait_for(lambda: asked <= recorded(shared, began_ns), 30)


def test_nothing_listens_beyond_loopback_on_the_ports_that_are_ours(shared: Running) -> None:
    haproxy = processes(shared, "haproxy.cfg") if shared.proxy == "haproxy" else []
    ours = [one for kind in ("Recorder", "Evaluator", "Front") for one in processes(shared, kind)]
    listening = {
        (socket.laddr.port, socket.laddr.ip.removeprefix("::ffff:"))  # as gRPC's are shown
        for process in [*haproxy, *ours]
        for socket in process.connections(kind="tcp")
        if socket.status == psutil.CONN_LISTEN
    }

    with shared.client() as client:
        told = client.status()["processes"]
    [recorder] = told["recorders"].values()
    known = {shared.grpc_port, recorder["metrics_port"], told["evaluator"]["grpc_port"]}
    if haproxy:
        known.add(httpx.URL(shared.url).port)
    assert known <= {port for port, _ in listening}
    # Ray takes others.
    assert {ip for port, ip in listening if port in PORTS} == {"127.0.0.1"}


def test_a_foreign_host_and_a_browser_are_refused(shared: Running) -> None:
    url = f"{shared.url}/v2/models/digits/ready"

    assert httpx.get(url).status_code == 200
    assert httpx.get(url, headers={"Host": "evil.example"}).status_code == 403
    assert httpx.get(url, headers={"Origin": "http://127.0.0.1"}).status_code == 403
    for path in ("/v2/models/digits", "/v2/health/live", "/api/v1/models"):
        garbled = httpx.get(shared.url + path, headers={b"X-Request-Id": b"\xff\xfe"})
        assert garbled.status_code == 200


def test_ready_names_a_model_that_does_not_answer_and_changes_need_a_key(shared: Running) -> None:
    ready = httpx.get(f"{shared.url}/v2/health/ready")
    refused = httpx.post(f"{shared.url}/api/v1/models/digits/rollback", json={})
    unknown = httpx.get(f"{shared.url}/v2/models/nobody")

    assert ready.json() == {"ready": True, "live": True}
    assert refused.status_code == 401
    assert unknown.status_code == 404
    assert set(unknown.json()) == {"error", "code", "request_id"}


def test_metrics_count_what_was_asked(shared: Running) -> None:
    with shared.client() as client:
        [recorder] = client.status()["processes"]["recorders"].values()

    text = httpx.get(f"http://127.0.0.1:{recorder['metrics_port']}/metrics").text

    assert "handrail_inference_requests_total" in text


def test_a_stopped_gateway_leaves_no_process_and_starts_again_on_its_state(
    new_state: Path, examples: tuple[Example, Example], tmp_path: Path
) -> None:
    from tests.e2e.conftest import gateway

    row: dict[str, Any] = {"measurements": examples[1].test_rows[:1]}
    with gateway(new_state) as running, running.client() as client:
        client.register(examples[1].bundles[0].path, as_="live")
        children = psutil.Process(running.process.pid).children(recursive=True)
        client.infer("breast_cancer", row)
    assert not [process for process in children if _lives(process)]

    with gateway(new_state) as running, running.client() as client:
        assert client.infer("breast_cancer", row).served_by == "model"
        wait_for(lambda: client.report("breast_cancer")["requests"] == 2, 20)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and os.path.exists(f"/proc/{process.pid}")
    except psutil.NoSuchProcess:
        return False
