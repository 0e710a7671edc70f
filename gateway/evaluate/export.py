"""Joined decisions for training, with propensities and weights: Parquet, or dsjson for VW."""

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gateway.evaluate.choice_log import ChoiceLog, LoggedChoice, name_of
from gateway.evaluate.dsjson import write_dsjson
from gateway.record.replay import ids_of, question_of
from guards.explore.choices import NOBODY
from guards.quality.offpolicy.logged import EXPLORED_MODE

FORMATS = {"parquet": "application/vnd.apache.parquet", "dsjson": "application/x-ndjson"}

_LISTS = (("candidates", pa.string()), ("greedy", pa.string()), ("served", pa.string()),
          ("shown", pa.string()))  # fmt: skip
SCHEMA = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("row", pa.int32()),  # which decision of the request; feedback names it so
        ("request_id", pa.string()),
        ("model", pa.string()),
        ("version", pa.string()),
        ("arrived_ns", pa.int64()),
        ("kind", pa.string()),  # single | slate | threshold
        ("mode", pa.string()),
        ("policy", pa.string()),
        ("component", pa.string()),
        ("closed", pa.string()),  # why it was not randomised; "" where it was
        *((name, pa.list_(kind)) for name, kind in _LISTS),
        ("scores", pa.list_(pa.float64())),  # of the candidates, as the model gave them
        ("eligible", pa.list_(pa.bool_())),
        ("propensities", pa.list_(pa.float64())),  # of each slot given those before it
        ("propensity", pa.float64()),  # of all slots
        ("weight", pa.float64()),  # 1 / propensity, as if everything had been drawn uniformly
        ("rewards", pa.list_(pa.float64())),  # of each slot
        ("reward", pa.float64()),
        ("state", pa.string()),  # joined | defaulted
        ("explored", pa.bool_()),
        ("overridden", pa.bool_()),
        ("unbiased", pa.bool_()),  # drawn with this propensity, and nothing says it was replaced
    ]
)


def write_export(log: ChoiceLog, format_: str) -> bytes:
    """Write every decision whose window is over; those that are open may still change."""
    closed = [choice for choice in log.choices if choice.joined.state != "pending"]
    if format_ == "dsjson":
        return write_dsjson([choice for choice in closed if is_unbiased(choice)])
    out = io.BytesIO()
    pq.write_table(_table(closed), out, compression="zstd")
    return out.getvalue()


def is_unbiased(choice: LoggedChoice) -> bool:
    """Whether its propensity is that of what was rewarded."""
    return choice.drawn.mode == EXPLORED_MODE and not choice.joined.is_overridden


def _table(choices: Iterable[LoggedChoice]) -> pa.Table:
    return pa.Table.from_pylist([_row(choice) for choice in choices], schema=SCHEMA)


def _row(choice: LoggedChoice) -> dict[str, Any]:
    request, drawn, joined = choice.request, choice.drawn, choice.joined
    question = question_of(drawn).rows(choice.at, choice.at + 1)
    names = np.array([str(name_of(one)) for one in ids_of(drawn)[choice.at]], object)
    if drawn.kind == "threshold":
        names = np.array(["deny", "approve"], object)
    propensity = float(choice.propensities.prod())
    return {
        "prediction_id": request.prediction_id,
        "row": choice.at,
        "request_id": request.request_id,
        "model": request.model,
        "version": request.version,
        "arrived_ns": request.arrived_ns,
        "kind": drawn.kind,
        "mode": drawn.mode,
        "policy": drawn.policy,
        "component": choice.component,
        "closed": drawn.closed[choice.at],
        "candidates": names.tolist(),
        "greedy": names[choice.greedy[choice.greedy != NOBODY]].tolist(),
        "served": names[choice.served[choice.served != NOBODY]].tolist(),
        "shown": None if joined.shown is None else [str(one) for one in joined.shown],
        "scores": question.scores[0].astype(np.float64).tolist(),
        "eligible": None if question.eligible is None else question.eligible[0].tolist(),
        "propensities": choice.propensities[choice.served != NOBODY].tolist(),
        "propensity": propensity,
        "weight": 1 / propensity,
        "rewards": list(joined.rewards),
        "reward": float(sum(joined.rewards)),
        "state": joined.state,
        "explored": choice.is_explored,
        "overridden": joined.is_overridden,
        "unbiased": is_unbiased(choice),
    }
