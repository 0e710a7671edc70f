"""Decisions to judge, with any of their fields changed."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from gateway.record.decision import SCHEMA, Decision, Payload, Stages, Tensor
from gateway.record.ids import new_trace, prediction_id

ARRIVED_NS = 1_795_478_400_000_000_000  # 2026-11-24 00:00:00 UTC


def decide(n: int = 0, **changes: Any) -> Decision:
    """Make the ``n``-th ordinary decision of model "mlp", with any of its fields changed."""
    prediction = prediction_id("mlp", f"request-{n}", b"body")
    trace = new_trace(prediction)
    plain = Decision(
        schema=SCHEMA,
        prediction_id=prediction,
        request_id=f"request-{n}",
        trace_id=trace.trace_id,
        span_id=trace.span_id,
        parent_id="",
        parent_sampled=False,
        tracestate="",
        model="mlp",
        version="1",
        digest="sha256:abc",
        revision=1,
        arrived_ns=ARRIVED_NS + n * 1_000_000,
        stages=Stages(finished_ns=1_000_000),
        budget_ns=50_000_000,
        rows=1,
        batch_rows=4,
        status=200,
        code="",
        served_by="model",
        fallback_reason="",
        flagged=0,
        rejected=0,
        p_values=(0.43,),
        reasons="",
        predicted=(1.0,),
        exploration=None,
        capture_share=0.1,
        payload=None,
    )
    return msgspec.structs.replace(plain, **changes)


def payload_of(rows: NDArray[Any], *, name: str = "features") -> Payload:
    """Capture rows as a replica does."""
    rows = np.ascontiguousarray(rows, np.float32)
    return Payload((Tensor(name, "FP32", rows.shape, rows.tobytes()),), ())
