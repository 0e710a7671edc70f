"""Where the time of a request goes, from the gateway's own decision records.

What happens after the answer has left (the record itself) is in no share; it costs throughput.
"""

import time
from typing import Any

import numpy as np
from load import run_wrk

from gateway.record.decision import Decision
from gateway.record.evidence import Evidence

SETTLED_S = 20.0  # the recorder reads four times a second
LEAST = 200  # records for a share that says something


def measure_shares(url: str, model: str, body: bytes, evidence: str, duration_s: int) -> Any:
    """Send one request after the other, and split their time: median us and share by stage.

    Raises:
        SystemExit: too few of them were recorded.
    """
    began_ns = time.time_ns()
    load = run_wrk(url, body, connections=1, duration_s=duration_s)
    ended_ns = time.time_ns()
    sent = int(load.requests_per_s * duration_s)
    until_s = time.monotonic() + SETTLED_S
    records: list[Decision] = []
    while len(records) < 0.98 * sent and time.monotonic() < until_s:
        time.sleep(0.5)
        told = Evidence(evidence).read(since_ns=began_ns, model=model)
        records = [record for _, record in told if began_ns <= record.arrived_ns <= ended_ns]
    records = [record for record in records if record.status == 200 and record.stages.inferred_ns]
    if len(records) < LEAST:
        raise SystemExit(f"{len(records)} records of {model} after {sent} requests")
    return {"requests": len(records), "client_p50_ms": load.p50_ms} | _split(records)


def _split(records: list[Decision]) -> dict[str, Any]:
    stages = [record.stages for record in records]
    stamps = {
        "decode": [one.decoded_ns for one in stages],
        "wait": [one.dequeued_ns for one in stages],
        "input guards": [one.guarded_ns or one.dequeued_ns for one in stages],
        "model and output guards": [one.inferred_ns for one in stages],
        "explore": [one.explored_ns or one.inferred_ns for one in stages],
        "answer": [one.finished_ns for one in stages],
    }
    ends = np.array(list(stamps.values())) / 1000  # us after arrival
    took = np.diff(ends, axis=0, prepend=0.0)
    shares = (took / ends[-1]).mean(axis=1)
    return {
        "server_p50_us": round(float(np.median(ends[-1])), 1),
        "p50_us": {
            name: round(float(np.median(row)), 1) for name, row in zip(stamps, took, strict=True)
        },
        "share": {name: round(float(share), 4) for name, share in zip(stamps, shares, strict=True)},
    }
