"""Spans may be lost; what the evaluator finds may not depend on them."""

from pathlib import Path
from typing import Any

import pytest

from gateway.registry.keys import local_signing_key
from models.examples.example import Example
from models.signing import SigningKey
from tests.e2e.conftest import Running, gateway, wait_for

pytestmark = pytest.mark.e2e

ROWS = 60
NO_SPANS = {
    "HANDRAIL__RECORD__TRACE_SHARE": "0",
    "HANDRAIL__RECORD__KEEP_PER_S": "0",
    "HANDRAIL__RECORD__KEEP_PARENT_PER_S": "0",
}


def ask_and_label(running: Running, example: Example) -> dict[str, Any]:
    """Serve version 1 with its shadow, ask and label the same rows, wait for the report."""
    with running.client() as client:
        client.register(example.bundles[0].path, as_="live")
        client.register(example.bundles[1].path, as_="shadow", trust_code=True)
        for i, row in enumerate(example.test_rows[:ROWS]):
            answer = client.infer("digits", {"image": row[None]}, request_id=f"row-{i}")
            label = int(example.test_labels[i])
            client.feedback("digits", [{"prediction_id": answer.prediction_id, "label": label}])

        def is_judged() -> bool:
            report = client.report("digits")
            return bool(
                report["versions"][0]["accuracy"]["n"] == ROWS
                and report["shadow"]["agreement"]["n"] == ROWS
                and counted(report).get("reject_rate") == ROWS
            )

        wait_for(is_judged, 60)
        spans = client.status()["processes"]["evaluator"]["spans_received"]
        return client.report("digits") | {"spans": spans}


def counted(report: dict[str, Any]) -> dict[str, int]:
    """Say how many values each drift monitor has seen."""
    monitors = report["drift"]["monitors"] if report["drift"] else ()
    return {monitor["monitor"]: monitor["values"] for monitor in monitors}


def without_durations(report: dict[str, Any]) -> dict[str, Any]:
    """Leave out what differs between two runs on a real machine: how long things took.

    What the drift monitors bet depends on which ticks the requests fell into.
    """
    kept = [
        {name: value for name, value in version.items() if not name.startswith("latency")}
        for version in report["versions"]
    ]
    promised = [e for e in report["expectations"] if e["name"] != "latency_ms"]
    return report | {
        "versions": kept,
        "expectations": promised,
        "drift": counted(report),
        "spans": None,
    }


def test_the_report_is_the_same_when_every_span_is_lost(
    tmp_path: Path, key: SigningKey, examples: tuple[Example, Example]
) -> None:
    reports = []
    for name, environment in (("with", {}), ("without", NO_SPANS)):
        state = tmp_path / name / "state"
        local_signing_key(state / "keys")
        key.publish(state / "keys" / "trusted")
        with gateway(state, **environment) as running:
            reports.append(ask_and_label(running, examples[0]))

    assert reports[0]["spans"] > 0
    assert reports[1]["spans"] == 0
    assert without_durations(reports[0]) == without_durations(reports[1])
