"""A gateway whose inference is not open asks everybody for a key, and still knows it is ready."""

import httpx
import numpy as np
import pytest

from gateway.client import AnswerError, Client
from models.examples.example import Example
from tests.e2e.conftest import Running

pytestmark = pytest.mark.e2e


def test_inference_that_is_not_open_needs_a_key(
    closed: Running, examples: tuple[Example, Example]
) -> None:
    rows: dict[str, np.ndarray] = {"measurements": examples[1].test_rows[:1]}
    with closed.client() as client:
        answer = client.infer("breast_cancer", rows)
        client.feedback("breast_cancer", [{"prediction_id": answer.prediction_id, "label": 1}])
    with Client(closed.url) as stranger:
        with pytest.raises(AnswerError) as refused:
            stranger.infer("breast_cancer", rows)
        with pytest.raises(AnswerError) as refused_feedback:
            stranger.feedback("breast_cancer", [{"prediction_id": answer.prediction_id}])
    for path in ("infer/", "infer//", "versions/1/infer", "versions/1/infer/", "feedback/"):
        refusal = httpx.post(f"{closed.url}/v2/models/breast_cancer/{path}", content=b"{}")
        assert refusal.status_code == 401, path
    ready = httpx.get(f"{closed.url}/v2/health/ready")

    assert answer.served_by == "model"
    assert refused.value.status == refused_feedback.value.status == 401
    assert ready.status_code == 200
