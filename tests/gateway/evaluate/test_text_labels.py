"""What a model of text answered is judged by the texts that turned out to be right."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from gateway.errors import BadRequestError
from gateway.evaluate.judgements import Judgements
from gateway.evaluate.report import report
from gateway.evaluate.sink import FeedbackSink
from gateway.registry.artifacts import ArtifactStore
from gateway.registry.registry import Registry
from guards.quality.expectation import State
from models.prediction import text_number
from models.signing import SigningKey
from tests.gateway.evaluate.decisions import ARRIVED_NS, decide
from tests.gateway.serving.text_model import build_babble

MODEL = "babble"


@pytest.fixture
def registry(engine: Engine, tmp_path: Path) -> Registry:
    """A model from text to text; version 1 is live, version 2 its shadow."""
    store = ArtifactStore(f"file://{tmp_path}/artifacts")
    registry = Registry(engine, store, clock=lambda: ARRIVED_NS / 1e9 - 1)
    key = SigningKey.create()
    for version, as_ in (("1", "live"), ("2", "shadow")):
        bundle = build_babble(tmp_path, key, version=version)
        registry.register(bundle, as_=as_, trust_code=False, who="test")  # type: ignore[arg-type]
    return registry


@pytest.fixture
def sink(registry: Registry, database_url: str, tmp_path: Path) -> FeedbackSink:
    return FeedbackSink(
        MODEL, database_url=database_url, artifacts_url=f"file://{tmp_path}/artifacts"
    )


def numbers(*texts: str) -> tuple[float, ...]:
    return tuple(text_number(text.encode()) for text in texts)


async def test_accuracy_is_judged_from_posted_texts(
    engine: Engine, registry: Registry, sink: FeedbackSink
) -> None:
    said = [decide(n, model=MODEL, rows=2, predicted=numbers("un", "zéro")) for n in range(100)]
    Judgements(engine).record(said)
    labels = [["un", "zéro"]] * 95 + [["un", "zero"]] * 5  # another spelling is another answer
    body = [
        {"prediction_id": decision.prediction_id, "label": label}
        for decision, label in zip(said, labels, strict=True)
    ]
    assert (await sink(json.dumps(body).encode(), "application/json"))["accepted"] == 200

    found = report(engine, registry, MODEL, alpha=0.05)
    live = next(version for version in found.versions if version.role == "live")
    assert (live.accuracy.hits, live.accuracy.n) == (195, 200)
    accuracy = next(e for e in found.expectations if e.name == "accuracy")
    assert accuracy.state is State.HOLDS


async def test_a_shadow_agrees_where_its_texts_are_the_same(
    engine: Engine, registry: Registry, sink: FeedbackSink
) -> None:
    said = decide(0, model=MODEL, rows=2, predicted=numbers("un", "deux"))
    judgements = Judgements(engine)
    judgements.record([said])
    answers = {said.prediction_id: numbers("un", "trois")}
    judgements.record_shadow(MODEL, "2", answers, reader="test", position=1)
    body = {"prediction_id": said.prediction_id, "label": ["deux", "trois"]}
    await sink(json.dumps(body).encode(), "application/json")

    shadow = report(engine, registry, MODEL, alpha=0.05).shadow
    assert shadow is not None
    assert (shadow.agreement.hits, shadow.agreement.n) == (1, 2)
    assert (shadow.accuracy.hits, shadow.accuracy.n) == (1, 2)


async def test_a_number_for_a_model_of_text_is_refused(sink: FeedbackSink) -> None:
    body = json.dumps({"prediction_id": "0" * 32, "label": 1}).encode()

    with pytest.raises(BadRequestError, match="the model answers texts"):
        await sink(body, "application/json")


async def test_a_reward_alone_goes_with_any_model(sink: FeedbackSink) -> None:
    body = json.dumps({"prediction_id": "0" * 32, "reward": 1}).encode()

    assert (await sink(body, "application/json"))["accepted"] == 1
