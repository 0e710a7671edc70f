"""One request in, one answer out, one record kept."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from gateway.errors import BadRequestError
from models.bundle import load_reference
from models.examples.example import Example
from models.manifest import Manifest
from models.pack import pack
from models.signing import SigningKey


def body(rows: np.ndarray, **fields: Any) -> bytes:
    """Ask about ``rows`` in JSON."""
    tensor = {
        "name": "measurements",
        "shape": list(rows.shape),
        "datatype": "FP32",
        "data": rows.reshape(-1).tolist(),
    }
    return orjson.dumps({"inputs": [tensor], **fields})


async def test_a_request_is_answered_with_provenance_and_recorded(
    serve: Any, cancer: Example
) -> None:
    served = await serve(*cancer.bundles)

    response = await served.client.post("/infer", content=body(cancer.test_rows[:3], id="a"))

    answer = response.json()
    assert response.status_code == 200, answer
    assert response.headers["content-type"] == "application/json"
    assert answer["id"] == "a"
    assert answer["parameters"]["served_by"] == "model"
    assert answer["parameters"]["bundle_digest"] == cancer.bundles[0].digest
    [output] = answer["outputs"]
    assert output["shape"] == [3, 2]
    [decision] = served.kept.decisions
    assert decision.prediction_id == answer["parameters"]["prediction_id"]
    assert decision.status == 200
    assert decision.rows == 3
    stages = decision.stages
    assert 0 < stages.decoded_ns <= stages.dequeued_ns <= stages.guarded_ns
    assert stages.guarded_ns <= stages.inferred_ns <= stages.finished_ns
    assert decision.payload is not None


async def test_json_and_binary_give_the_same_answer(serve: Any, cancer: Example) -> None:
    served = await serve(*cancer.bundles)
    rows = np.ascontiguousarray(cancer.test_rows[:5])
    head = orjson.dumps(
        {
            "inputs": [
                {
                    "name": "measurements",
                    "shape": list(rows.shape),
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": rows.nbytes},
                }
            ],
            "parameters": {"binary_data_output": True},
        }
    )

    as_json = (await served.client.post("/infer", content=body(rows))).json()
    response = await served.client.post(
        "/infer",
        content=head + rows.tobytes(),
        headers={"Inference-Header-Content-Length": str(len(head))},
    )

    length = int(response.headers["Inference-Header-Content-Length"])
    raw = np.frombuffer(response.content[length:], "<f4").reshape(5, 2)
    np.testing.assert_array_equal(raw.ravel(), np.float32(as_json["outputs"][0]["data"]))


async def test_an_impossible_deadline_is_answered_by_the_fallback_and_marked(
    serve: Any, cancer: Example
) -> None:
    served = await serve(*cancer.bundles)

    response = await served.client.post(
        "/infer", content=body(cancer.test_rows[:2], parameters={"timeout": 1})
    )

    parameters = response.json()["parameters"]
    assert parameters["served_by"] == "fallback:constant"
    assert parameters["fallback_reason"] == "deadline"


async def test_a_row_with_nan_is_rejected_and_its_neighbours_are_answered(
    serve: Any, cancer: Example
) -> None:
    served = await serve(*cancer.bundles)
    bad = cancer.test_rows[:1].copy()
    bad[0, 3] = np.nan
    head = orjson.dumps(
        {
            "inputs": [
                {
                    "name": "measurements",
                    "shape": [1, 30],
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": 120},
                }
            ]
        }
    )

    refused = await served.client.post(
        "/infer",
        content=head + bad.tobytes(),
        headers={"Inference-Header-Content-Length": str(len(head))},
    )

    assert refused.status_code == 422
    assert refused.json()["code"] == "rejected_by_guard"
    assert served.kept.decisions[-1].rejected == 1


def tensor(shape: str, data: str, *, name: str = "measurements", datatype: str = "FP32") -> bytes:
    """Write a request by hand, so that it can be wrong in any way."""
    return (
        f'{{"inputs": [{{"name": "{name}", "shape": {shape}, "datatype": "{datatype}",'
        f' "data": {data}}}]}}'
    ).encode()


def thirty(item: str) -> str:
    return "[" + ",".join([item] * 30) + "]"


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"{",
        b"[1]",
        b"null",
        b"{}",
        b"\xff\xfe",
        b'{"inputs": []}',
        b'{"inputs": [1]}',
        b'{"inputs": [{"name": "measurements"}]}',
        tensor("[1, 30]", thirty("1"), name="x"),
        tensor("[1, 30]", thirty("1"), datatype="INT8"),
        tensor("[1, 30]", thirty("1"), datatype="BYTES"),
        tensor("[-1, 30]", thirty("1")),
        tensor("[0, 30]", "[]"),
        tensor("[true, 30]", thirty("1")),
        tensor("[1.0, 30]", thirty("1")),
        tensor("[4294967296, 4294967296]", "[1]"),
        tensor("[1, 30]", "[1]"),
        tensor("[1, 30]", "{}"),
        tensor("[1, 30]", '"text"'),
        tensor("[1, 30]", "[[NaN]]"),
        tensor("[1, 30]", thirty("NaN")),
        tensor("[1, 30]", thirty("Infinity")),
        tensor("[1, 30]", thirty("1e999")),
        tensor("[1, 30]", thirty("null")),
        tensor("[1, 30]", thirty('"1"')),
        tensor("[1, 30]", thirty("1e300")),
        tensor("[1, 30]", thirty("9" * 5000)),
        tensor("[1, 30]", thirty("[1, 2]")),
        tensor("[1, 30]", "[" * 90 + "1" + "]" * 90),
        b'{"inputs": [{"name": "measurements", "shape": [1, 30], "datatype": "FP32",'
        b' "parameters": {"binary_data_size": 120}}]}',
        tensor("[1, 30]", thirty("1"))[:-1] + b', "outputs": [{"name": "nothing"}]}',
        tensor("[1, 30]", thirty("1"))[:-1] + b', "parameters": {"timeout": -5}}',
        tensor("[1, 30]", thirty("1"))[:-1] + b', "parameters": {"timeout": "soon"}}',
        tensor("[1, 30]", thirty("1"))[:-1] + b', "parameters": [1]}',
        tensor("[1, 30]", thirty("1"))[:-1] + b', "id": 7}',
        b"[" * 100_000,
    ],
)
async def test_a_broken_request_gets_a_typed_4xx(
    serve: Any, cancer: Example, broken: bytes
) -> None:
    served = await serve(*cancer.bundles)

    response = await served.client.post("/infer", content=broken)

    assert response.status_code == 400, response.text
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()) == {"error", "code", "request_id"}


async def test_a_body_over_the_limit_is_refused(serve: Any, cancer: Example) -> None:
    served = await serve(*cancer.bundles, max_body_bytes=1000)

    response = await served.client.post("/infer", content=b" " * 1001)

    assert response.status_code == 413


async def test_what_was_refused_before_it_was_read_is_recorded_too(
    serve: Any, cancer: Example
) -> None:
    served = await serve(*cancer.bundles, max_body_bytes=1000)

    await served.client.post("/infer", content=b" " * 1001)
    await served.client.post("/infer", content=b"x", headers={"Content-Encoding": "gzip"})

    assert [d.code for d in served.kept.decisions] == ["too_large", "bad_content_encoding"]


async def test_paths_and_methods_outside_the_protocol_get_404_and_405(
    serve: Any, cancer: Example
) -> None:
    served = await serve(*cancer.bundles)

    assert (await served.client.get("/nothing")).status_code == 404
    assert (await served.client.post("/infer/", content=b"")).status_code == 404
    assert (await served.client.post("/feedback//", content=b"")).status_code == 404
    assert (await served.client.get("/infer")).status_code == 405
    assert (await served.client.get("/versions/9")).status_code == 404
    assert (await served.client.get("/ready")).json() == {"name": "breast_cancer", "ready": True}
    metadata = (await served.client.get("")).json()
    assert metadata["inputs"][0]["shape"] == [-1, 30]


async def test_batch_mates_change_nothing_about_a_request_that_falls_back(
    serve: Any, cancer: Example, key: SigningKey, tmp_path: Path
) -> None:
    bundle = cancer.bundles[0]
    told = bundle.manifest.model_dump(by_alias=True)
    told["guards"]["outlier"]["action"] = "fallback"
    told["guards"]["output"] = {"min_confidence": 0.4, "low_confidence": "reject"}
    reference = load_reference(bundle).inputs
    strict = pack(
        Manifest.model_validate(told),
        bundle.path / str(bundle.manifest.runtime.file),
        reference=reference,
        held_out={"measurements": reference["measurements"][:150]},
        out=tmp_path / "strict",
        key=key,
    )
    served = await serve(strict)
    far = np.full((1, 30), 1e9, np.float32)

    alone = await served.client.post("/infer", content=body(far))
    _, among = await asyncio.gather(
        served.client.post("/infer", content=body(cancer.test_rows[:1])),
        served.client.post("/infer", content=body(far)),
    )

    assert served.kept.decisions[-1].batch_rows == 2
    for response in (alone, among):
        assert response.status_code == 200, response.text
        assert response.json()["parameters"]["fallback_reason"] == "outlier"
    assert {reason["guard"] for why in reasons(served) for reason in why} <= {"outlier", "schema"}


def reasons(served: Any) -> list[Any]:
    """Every reason that was recorded."""
    told = [orjson.loads(d.reasons) for d in served.kept.decisions if d.reasons]
    return [why for by_row in told for why in by_row.values()]


async def test_a_form_in_parts_is_refused_and_a_form_that_is_json_is_read(
    serve: Any, cancer: Example
) -> None:
    served = await serve(*cancer.bundles)
    content = body(cancer.test_rows[:1])
    parts = {"content-type": "Multipart/Form-Data; boundary=x"}
    form = {"content-type": "application/x-www-form-urlencoded"}

    refused = await served.client.post("/infer", content=content, headers=parts)
    answered = await served.client.post("/infer", content=content, headers=form)

    assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_media_type")
    assert answered.status_code == 200


async def test_an_answer_that_cannot_be_written_is_recorded_as_a_refusal_only(
    serve: Any, cancer: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(*cancer.bundles)

    def refuse(*_: Any, **__: Any) -> Any:
        raise BadRequestError("output y is not text; ask for it as binary", code="not_text")

    monkeypatch.setattr("gateway.serving.ingress.encode_answer", refuse)
    response = await served.client.post("/infer", content=body(cancer.test_rows[:1]))

    [decision] = served.kept.decisions
    assert response.status_code == decision.status == 400
    assert (decision.served_by, decision.payload) == ("", None)
