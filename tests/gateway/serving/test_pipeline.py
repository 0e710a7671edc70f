"""From request to answer: who answers when the model cannot, and what the answer says about it."""

import asyncio
import gzip
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from gateway.serving.breaker import LEAST_CALLS
from gateway.serving.cost import WINDOW
from gateway.serving.item import Item
from models.bundle import Bundle, load_reference
from models.errors import OutOfTimeError
from models.examples.example import Example
from models.manifest import Manifest
from models.pack import pack
from models.signing import SigningKey
from tests.gateway.serving.poison import PLACES, build_lookup

HOPELESS = {"timeout": 1}  # microseconds


def body(rows: np.ndarray, *, name: str = "measurements", **fields: Any) -> bytes:
    """Ask about ``rows`` in JSON."""
    tensor = {
        "name": name,
        "shape": list(rows.shape),
        "datatype": "FP32",
        "data": rows.reshape(-1).tolist(),
    }
    return orjson.dumps({"inputs": [tensor], **fields})


def place(number: float) -> bytes:
    """Ask the model of `build_lookup`."""
    return body(np.full((1, 1), number, np.float32), name="place")


def repacked(
    bundle: Bundle, out: Path, key: SigningKey, change: Callable[[dict[str, Any]], None]
) -> Bundle:
    """Pack a model again with another manifest."""
    told = bundle.manifest.model_dump(by_alias=True)
    change(told)
    reference = load_reference(bundle).inputs
    return pack(
        Manifest.model_validate(told),
        bundle.path / str(bundle.manifest.runtime.file),
        reference=reference,
        held_out={"measurements": reference["measurements"][:150]},
        out=out,
        key=key,
    )


class EverybodySuspect:
    """Sets every request apart, and remembers who was acquitted."""

    def __init__(self) -> None:
        self.acquitted: list[bytes] = []

    def set_apart(self, item: Item) -> Item:
        return replace(item, is_alone=True)

    def acquit(self, fingerprint: bytes) -> None:
        self.acquitted.append(fingerprint)


async def test_a_suspect_is_acquitted_only_once_the_model_is_done_with_it(
    serve: Any, tmp_path: Path, key: SigningKey
) -> None:
    """A guard that stops it before the model, or a call that is cut off, proves nothing."""
    suspects = EverybodySuspect()
    served = await serve(build_lookup(tmp_path, key), suspects=suspects)
    predict = served.versions.view.live.runtime.predict

    def cut_off(inputs: Any, **_: Any) -> Any:
        raise OutOfTimeError("lookup")

    for content, call, acquitted in (
        (place(1e9), cut_off, 0),
        (place(3), predict, 1),
        (place(PLACES), predict, 2),  # it fails, and the process lives
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(served.versions.view.live.runtime, "predict", call)
            await served.client.post("/infer", content=content)
            await asyncio.sleep(0.05)
        assert len(suspects.acquitted) == acquitted


async def test_the_last_good_answer_to_the_same_inputs_is_repeated_with_its_age(
    serve: Any, cancer: Example, key: SigningKey, tmp_path: Path
) -> None:
    def cached(told: dict[str, Any]) -> None:
        told["fallback"] = [{"use": "cache"}, *told["fallback"]]

    served = await serve(repacked(cancer.bundles[0], tmp_path / "cached", key, cached))
    known, other = cancer.test_rows[:1], cancer.test_rows[1:2]

    first = (await served.client.post("/infer", content=body(known))).json()
    again = await served.client.post("/infer", content=body(known, parameters=HOPELESS))
    never = await served.client.post("/infer", content=body(other, parameters=HOPELESS))

    assert first["parameters"]["served_by"] == "model"
    assert again.json()["parameters"]["served_by"] == "fallback:cache"
    assert again.json()["parameters"]["fallback_reason"] == "deadline"
    assert again.json()["parameters"]["fallback_age_ms"] >= 0
    assert again.json()["outputs"] == first["outputs"]
    assert served.kept.decisions[1].cache_age_ns > 0
    assert never.json()["parameters"]["served_by"] == "fallback:constant"


def break_model(served: Any) -> None:
    """Let the live model fail whatever it is asked."""

    def fail(inputs: Any, **_: Any) -> Any:
        raise KeyError("out of order")

    served.versions.view.live.runtime.predict = fail


async def test_a_model_that_keeps_failing_is_left_alone(
    serve: Any, key: SigningKey, tmp_path: Path
) -> None:
    served = await serve(build_lookup(tmp_path, key))
    break_model(served)

    statuses = [
        (await served.client.post("/infer", content=place(1))).status_code
        for _ in range(LEAST_CALLS)
    ]
    await asyncio.sleep(0.05)  # it is asked about its golden row, and fails there too
    refused = await served.client.post("/infer", content=place(1))

    assert statuses == [500] * LEAST_CALLS
    assert refused.status_code == 503
    assert refused.json()["code"] == "breaker_open"
    assert int(refused.headers["retry-after"]) >= 1


async def test_while_a_model_is_left_alone_its_ladder_answers(
    serve: Any, key: SigningKey, tmp_path: Path
) -> None:
    served = await serve(build_lookup(tmp_path, key, fallback="0"))
    break_model(served)

    reasons = []
    for _ in range(LEAST_CALLS + 1):
        answer = (await served.client.post("/infer", content=place(1))).json()
        assert answer["parameters"]["served_by"] == "fallback:constant"
        reasons.append(answer["parameters"]["fallback_reason"])

    assert reasons == ["model_error"] * LEAST_CALLS + ["breaker_open"]
    assert served.kept.decisions[-1].fallback_reason == "breaker_open"


async def test_rows_on_which_a_model_fails_do_not_keep_others_from_it(
    serve: Any, key: SigningKey, tmp_path: Path
) -> None:
    served = await serve(build_lookup(tmp_path, key))

    for _ in range(LEAST_CALLS):
        await served.client.post("/infer", content=place(PLACES))
    await asyncio.sleep(0.05)  # it is asked about its golden row, and knows the answer
    answer = await served.client.post("/infer", content=place(1))

    assert answer.status_code == 200, answer.text


async def test_requests_too_large_to_be_in_time_do_not_keep_others_from_the_model(
    serve: Any, key: SigningKey, tmp_path: Path
) -> None:
    served = await serve(build_lookup(tmp_path, key))
    cost = served.versions.view.live.cost.model
    for _ in range(WINDOW):
        cost.observe(8192, 10**12)
    cost.tried_ns = time.perf_counter_ns()
    large = body(np.zeros((5000, 1), np.float32), name="place")

    for _ in range(LEAST_CALLS):
        assert (await served.client.post("/infer", content=large)).status_code in (503, 504)
    answer = await served.client.post("/infer", content=place(1))

    assert answer.status_code == 200, answer.text


async def test_a_surprise_of_the_runtime_fails_its_row_and_no_mates(
    serve: Any, key: SigningKey, tmp_path: Path
) -> None:
    served = await serve(build_lookup(tmp_path, key))
    runtime = served.versions.view.live.runtime
    predict = runtime.predict

    def surprise(inputs: Any, **deadline: Any) -> Any:
        if (inputs["place"] == 3).any():
            raise KeyError(3)
        return predict(inputs, **deadline)

    runtime.predict = surprise

    answers = await asyncio.gather(
        *(served.client.post("/infer", content=place(number)) for number in range(5))
    )

    assert [answer.status_code for answer in answers] == [200, 200, 200, 500, 200]


async def test_a_request_behind_a_slow_batch_keeps_its_deadline_however_quick_its_model(
    serve: Any, key: SigningKey, tmp_path: Path
) -> None:
    bundles = [build_lookup(tmp_path, key, version=version) for version in ("1", "2")]
    served = await serve(*bundles, inline_below_us=1e6)
    slow = served.versions.view.loaded["1"]
    predict = slow.runtime.predict
    slow.runtime.predict = lambda inputs, **_: (time.sleep(0.5), predict(inputs))[1]
    object.__setattr__(slow, "model_ns", 1e12)  # so that it runs on the thread
    hurried = body(np.ones((1, 1), np.float32), name="place", parameters={"timeout": 50_000})

    async def timed() -> tuple[float, int]:
        began_s = time.monotonic()
        answer = await served.client.post("/versions/2/infer", content=hurried)
        return time.monotonic() - began_s, answer.status_code

    _, (took_s, status) = await asyncio.gather(
        served.client.post("/versions/1/infer", content=place(1)), timed()
    )

    assert status == 504
    assert took_s < 0.3


async def test_requests_whose_time_is_too_short_do_not_open_the_breaker(
    serve: Any, cancer: Example
) -> None:
    served = await serve(*cancer.bundles)
    rows = cancer.test_rows[:1]

    for _ in range(2 * LEAST_CALLS):
        await served.client.post("/infer", content=body(rows, parameters=HOPELESS))
    answer = (await served.client.post("/infer", content=body(rows))).json()

    assert answer["parameters"]["served_by"] == "model"


async def test_a_guard_for_which_there_is_no_time_is_left_out_and_the_answer_says_so(
    serve: Any, cancer: Example, key: SigningKey, tmp_path: Path
) -> None:
    def advisory(told: dict[str, Any]) -> None:
        told["guards"]["outlier"]["action"] = "flag"
        told["expectations"]["latency_ms"] = 1000.0

    served = await serve(repacked(cancer.bundles[0], tmp_path / "advisory", key, advisory))
    guards = served.versions.view.live.cost.guards
    for _ in range(WINDOW):
        guards.observe(1, 10**12)
    guards.tried_ns = time.perf_counter_ns()

    hurried = await served.client.post("/infer", content=body(cancer.test_rows[:1]))

    assert hurried.json()["parameters"]["served_by"] == "model"
    assert hurried.json()["parameters"]["skipped_guards"] == "outlier"
    assert served.kept.decisions[-1].skipped_guards == ("outlier",)


async def test_classes_are_named_largest_first(serve: Any, cancer: Example) -> None:
    served = await serve(*cancer.bundles)
    rows = cancer.test_rows[:4]
    asked = [{"name": "probabilities", "parameters": {"classification": 1}}]

    plain = (await served.client.post("/infer", content=body(rows))).json()["outputs"][0]
    named = (await served.client.post("/infer", content=body(rows, outputs=asked))).json()

    [output] = named["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [4, 1])
    best = np.reshape(plain["data"], plain["shape"]).argmax(axis=1)
    assert [int(told.split(":")[1]) for told in output["data"]] == best.tolist()


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
async def test_a_compressed_request_is_answered_like_a_plain_one(
    serve: Any, cancer: Example, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    served = await serve(*cancer.bundles)
    plain = body(cancer.test_rows[:3])

    wanted = await served.client.post("/infer", content=plain)
    found = await served.client.post(
        "/infer", content=compress(plain), headers={"Content-Encoding": encoding}
    )

    assert found.status_code == 200, found.text
    assert found.json()["outputs"] == wanted.json()["outputs"]


async def test_a_raw_request_is_one_row_and_answered_raw(serve: Any, cancer: Example) -> None:
    served = await serve(*cancer.bundles)
    rows = np.ascontiguousarray(cancer.test_rows[:1])

    wanted = (await served.client.post("/infer", content=body(rows))).json()["outputs"][0]
    found = await served.client.post(
        "/infer", content=rows.tobytes(), headers={"Inference-Header-Content-Length": "0"}
    )

    size = int(found.headers["Inference-Header-Content-Length"])
    raw = np.frombuffer(found.content[size:], "<f4")
    np.testing.assert_array_equal(raw, np.float32(wanted["data"]))
