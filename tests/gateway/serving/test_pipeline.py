"""From request to answer: who answers when the model cannot, and what the answer says about it."""

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from gateway.serving.breaker import LEAST_CALLS
from gateway.serving.cost import WINDOW
from models.bundle import Bundle, load_reference
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


def place(number: int) -> bytes:
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


async def test_a_model_that_keeps_failing_is_left_alone(
    serve: Any, key: SigningKey, tmp_path: Path
) -> None:
    served = await serve(build_lookup(tmp_path, key))

    statuses = [
        (await served.client.post("/infer", content=place(PLACES))).status_code
        for _ in range(LEAST_CALLS)
    ]
    refused = await served.client.post("/infer", content=place(1))

    assert statuses == [500] * LEAST_CALLS
    assert refused.status_code == 503
    assert refused.json()["code"] == "breaker_open"
    assert int(refused.headers["retry-after"]) >= 1


async def test_while_a_model_is_left_alone_its_ladder_answers(
    serve: Any, key: SigningKey, tmp_path: Path
) -> None:
    served = await serve(build_lookup(tmp_path, key, fallback="0"))

    for _ in range(LEAST_CALLS):
        await served.client.post("/infer", content=place(PLACES))
    answer = (await served.client.post("/infer", content=place(1))).json()

    assert answer["parameters"]["served_by"] == "fallback:constant"
    assert answer["parameters"]["fallback_reason"] == "breaker_open"
    assert served.kept.decisions[-1].fallback_reason == "breaker_open"


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
    for _ in range(WINDOW):
        served.versions.view.live.cost.guards.observe(1, 10**12)

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
