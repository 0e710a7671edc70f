"""A model of text is served like any other: JSON, raw bytes, ladder, record and shadow."""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from gateway.evaluate.shadow import ShadowModel
from gateway.wire import HEADER_LENGTH, decode_answer, encode_request
from models.bundle import Bundle
from models.bytes_tensor import as_elements, cut_elements
from models.errors import RuntimeFailedError
from models.prediction import text_number
from models.runtime.architectures.seq2seq_runtime import Seq2seqRuntime
from models.runtime.catalog import open_runtime
from models.signing import SigningKey
from tests.gateway.serving.text_model import HIDDEN, NOTHING, build_babble

TEXTS = ["one two", "", "three four one", "größer", "two"]


@pytest.fixture(scope="module")
def babble(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Bundle:
    return build_babble(Path(tmp_path_factory.mktemp("babble")), key)


def expected(bundle: Bundle, texts: list[str]) -> list[str]:
    inputs = {"english": as_elements([text.encode() for text in texts], (len(texts),))}
    said = open_runtime(bundle).predict(inputs)["french"]
    return [text.decode() for text in said.tolist()]


async def ask(client: httpx.AsyncClient, texts: list[str], **fields: Any) -> Any:
    tensor = {"name": "english", "shape": [len(texts)], "datatype": "BYTES", "data": texts}
    response = await client.post("/infer", content=orjson.dumps({"inputs": [tensor], **fields}))
    assert response.status_code == 200, response.text
    return response.json()


async def test_text_is_answered_with_text(serve: Any, babble: Bundle) -> None:
    served = await serve(babble)

    answer = await ask(served.client, TEXTS)

    (french,) = answer["outputs"]
    assert (french["name"], french["datatype"], french["shape"]) == ("french", "BYTES", [5])
    assert french["data"] == expected(babble, TEXTS)
    assert answer["parameters"]["served_by"] == "model"
    assert answer["parameters"]["flagged_rows"] == 0


async def test_raw_bytes_are_answered_with_raw_bytes(serve: Any, babble: Bundle) -> None:
    served = await serve(babble)
    inputs = {"english": as_elements([b"one two", b"\xff\xfe"], (2,))}
    body, head = encode_request(inputs, timeout_ms=None, outputs=(), binary=True, request_id=None)

    response = await served.client.post("/infer", content=body, headers={HEADER_LENGTH: str(head)})

    found = decode_answer(response.content, response.headers[HEADER_LENGTH]).outputs["french"]
    assert found.tolist() == open_runtime(babble).predict(inputs)["french"].tolist()


async def test_texts_of_one_batch_are_answered_as_they_are_alone(
    serve: Any, babble: Bundle
) -> None:
    served = await serve(babble)

    answers = await asyncio.gather(*(ask(served.client, [text]) for text in TEXTS))

    assert max(decision.batch_rows for decision in served.kept.decisions) == len(TEXTS)
    said = [answer["outputs"][0]["data"][0] for answer in answers]
    assert said == expected(babble, TEXTS)


async def test_a_deadline_that_is_too_short_is_answered_by_the_constant_text(
    serve: Any, babble: Bundle
) -> None:
    served = await serve(babble, inline_below_us=0)

    answer = await ask(served.client, ["one", "two"], parameters={"timeout": 1})

    assert answer["parameters"]["served_by"] == "fallback:constant"
    assert answer["parameters"]["fallback_reason"] == "deadline"
    assert answer["outputs"][0]["data"] == [NOTHING, NOTHING]


async def test_a_model_that_stops_at_the_deadline_leaves_the_answer_to_the_ladder(
    serve: Any, babble: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(babble)
    check_time = Seq2seqRuntime._check_time

    def dawdle(runtime: Seq2seqRuntime, deadline_ns: int | None) -> None:
        time.sleep(0.1)
        check_time(runtime, deadline_ns)

    monkeypatch.setattr(Seq2seqRuntime, "_check_time", dawdle)
    answer = await ask(served.client, ["one"], parameters={"timeout": 150_000})

    assert answer["parameters"]["fallback_reason"] == "deadline"
    assert answer["outputs"][0]["data"] == [NOTHING]


async def test_a_text_that_makes_the_model_fail_does_not_fail_its_batch_mates(
    serve: Any, babble: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(babble)
    predict = Seq2seqRuntime.predict

    def fail(runtime: Seq2seqRuntime, inputs: Any, **words: Any) -> Any:
        if b"poison" in inputs["english"].tolist():
            raise RuntimeFailedError("babble", "poisoned")
        return predict(runtime, inputs, **words)

    monkeypatch.setattr(Seq2seqRuntime, "predict", fail)
    texts = ["one two", "poison", "two"]
    answers = await asyncio.gather(*(ask(served.client, [text]) for text in texts))

    said = [answer["outputs"][0]["data"][0] for answer in answers]
    assert said == [*expected(babble, texts[:1]), NOTHING, *expected(babble, texts[2:])]
    assert answers[1]["parameters"]["fallback_reason"] == "model_error"


async def test_a_text_on_which_the_large_model_fails_is_answered_by_the_small_one(
    serve: Any, babble: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(babble)
    translate = Seq2seqRuntime._translate

    def fail(runtime: Seq2seqRuntime, *rest: Any) -> Any:
        if runtime._config.hidden == HIDDEN:
            raise RuntimeError("broken")
        return translate(runtime, *rest)

    (small,) = babble.rungs
    monkeypatch.setattr(Seq2seqRuntime, "_translate", fail)
    answer = await ask(served.client, TEXTS)

    assert answer["parameters"]["served_by"] == "fallback:model"
    assert answer["parameters"]["fallback_reason"] == "model_error"
    assert answer["outputs"][0]["data"] == expected(small, TEXTS)


async def test_text_is_recorded_and_a_shadow_answers_what_was_recorded(
    serve: Any, babble: Bundle
) -> None:
    served = await serve(babble)
    answer = await ask(served.client, TEXTS)
    (decision,) = served.kept.decisions

    said = answer["outputs"][0]["data"]
    assert decision.predicted == tuple(text_number(text.encode()) for text in said)
    (given,), (told,) = decision.payload.inputs, decision.payload.outputs
    assert cut_elements(given.data, given.shape).tolist() == [text.encode() for text in TEXTS]
    assert cut_elements(told.data, told.shape).tolist() == [text.encode() for text in said]
    shadow = ShadowModel(babble.path, babble.digest)
    assert shadow.predict([decision.payload]) == [list(decision.predicted)]
