"""Decisions whose answer is a choice, as a replica records them, and a world that rewards them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from gateway.evaluate.choice_log import name_of
from gateway.evaluate.feedback import Feedback
from gateway.evaluate.feedback_store import FeedbackStore
from gateway.record.decision import Decision
from gateway.record.replay import served_ids
from gateway.serving.chooser import Asked, Chooser
from gateway.serving.explored import exploration_of
from guards.explore.settings import SingleExplore, SlateExplore, ThresholdExplore
from models.manifest import Manifest
from tests.gateway.evaluate.decisions import ARRIVED_NS, decide

SALT = b"the salt of the tests"
ACTIONS = 4
ITEMS = 8


def store_at(url: str, *, after_s: float = 3600.0) -> FeedbackStore:
    """Keep feedback as if it came so long after the first decision."""
    return FeedbackStore(url, clock_ns=lambda: ARRIVED_NS + int(after_s * 1e9))


def manifest_of(
    explore: Any, *, width: int = 1, inputs: Sequence[str] = (), **more: Any
) -> Manifest:
    """Declare a model whose answer is a choice."""
    datatypes = {"item": "INT64", "in_stock": "BOOL", "name": "BYTES"}
    context = [{"name": one, "datatype": datatypes[one], "shape": [-1]} for one in inputs]
    return Manifest.model_validate(
        {
            "name": "mlp",
            "version": "1",
            "runtime": {"kind": "onnx", "file": "model.onnx"},
            "signature": {
                "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 3]}, *context],
                "outputs": [
                    {"name": "score", "datatype": "FP32", "shape": [-1, width], "role": "scores"}
                ],
            },
            "explore": explore.model_dump(),
            **more,
        }
    )


def actions(**fields: Any) -> SingleExplore:
    """One of four columns."""
    return SingleExplore.model_validate({"policy": {"kind": "softmax", "tau": 0.5}} | fields)


def slate(**fields: Any) -> SlateExplore:
    """Three of eight items, of which one is sold out."""
    plain = {"ids": "item", "eligible": "in_stock", "slots": 3}
    return SlateExplore.model_validate(
        plain | {"policy": {"kind": "plackett_luce", "tau": 0.5}} | fields
    )


def approvals(**fields: Any) -> ThresholdExplore:
    """Approve below 0.3, and some up to 0.9."""
    plain = {
        "threshold": 0.3,
        "hard_stop": 0.9,
        "shape": {"kind": "uniform_reject", "epsilon": 0.2},
    }
    return ThresholdExplore.model_validate(plain | fields)


def choose_actions(
    n: int, explore: SingleExplore | None = None, *, seed: int = 0
) -> list[Decision]:
    """Ask about one row each."""
    rng = np.random.default_rng(seed)
    chooser = Chooser(manifest_of(explore or actions(), width=ACTIONS), SALT)
    scores = rng.normal(size=(n, 1, ACTIONS)).astype(np.float32)
    return [_decided(chooser, k, {}, scores[k]) for k in range(n)]


def choose_approvals(
    n: int, explore: ThresholdExplore | None = None, *, seed: int = 0
) -> list[Decision]:
    """Ask about one applicant each."""
    rng = np.random.default_rng(seed)
    chooser = Chooser(manifest_of(explore or approvals()), SALT)
    scores = rng.uniform(size=(n, 1, 1)).astype(np.float32)
    return [_decided(chooser, k, {}, scores[k]) for k in range(n)]


def rank_items(
    n: int,
    explore: SlateExplore | None = None,
    *,
    seed: int = 0,
    first: int = 0,
    names: Sequence[str] = (),
) -> list[Decision]:
    """Ask for a ranking of eight items each, by number or by name; the last one is sold out."""
    rng = np.random.default_rng(seed)
    explore = explore or slate()
    chooser = Chooser(manifest_of(explore, inputs=("item", "name", "in_stock")), SALT)
    texts = np.empty(ITEMS, np.object_)
    texts[:] = [name.encode() for name in names] or [b""] * ITEMS
    in_stock = np.arange(ITEMS) < ITEMS - 1
    inputs = {"item": 100 + np.arange(ITEMS), "name": texts, "in_stock": in_stock}
    scores = rng.normal(size=(n, ITEMS, 1)).astype(np.float32)
    return [_decided(chooser, first + k, inputs, scores[k]) for k in range(n)]


def _decided(
    chooser: Chooser, k: int, inputs: Mapping[str, NDArray[Any]], scores: NDArray[np.float32]
) -> Decision:
    request = decide(k)
    part = chooser.part(
        request.prediction_id, Asked(), inputs, {"score": scores}, guarded=None, closed=None
    )
    assert part is not None
    [decided] = chooser.choose([part])
    return msgspec.structs.replace(
        request, rows=len(scores), exploration=exploration_of(decided, chooser)
    )


def rewards_of(
    requests: Sequence[Decision], rewards: Sequence[Sequence[float]], *, after_ns: int = 1000
) -> list[Feedback]:
    """Say what each slot of each request's only decision earned; 0 is left to the default."""
    return [
        Feedback(
            request.prediction_id,
            row=0,
            slot=slot,
            reward=value,
            observed_ns=request.arrived_ns + after_ns,
            idempotency_key=f"slot {slot}",
        )
        for request, row in zip(requests, rewards, strict=True)
        for slot, value in enumerate(row)
        if value
    ]


def shown_of(request: Decision, *, after_ns: int = 1000, **fields: Any) -> Feedback:
    """Confirm that what was served was shown."""
    drawn = request.exploration
    assert drawn is not None
    served = [name_of(one) for one in served_ids(drawn)[0]]
    plain: dict[str, Any] = {"row": 0, "served": served}
    plain |= {"observed_ns": request.arrived_ns + after_ns, "idempotency_key": "shown"}
    return Feedback(request.prediction_id, **(plain | fields))
