"""Inference with JSON tensors: request, answer, errors.

Source: Open Inference Protocol, ``inference_rest.md``; Triton's ``extension_parameters`` and
``extension_classification``.
"""

import gzip
import json
import zlib
from collections.abc import Iterable
from typing import Any

import httpx
import numpy as np
import pytest

from tests.conformance.identity import output_name
from tests.conformance.wire import (
    JSON_DATATYPES,
    UNKNOWN,
    json_outputs,
    json_request,
    rows_of,
    to_json,
)

JSON = {"Content-Type": "application/json"}
INFER = "/v2/models/identity/infer"
ROWS = rows_of(JSON_DATATYPES)


def infer(http: httpx.Client, request: dict[str, Any], path: str = INFER) -> dict[str, Any]:
    response = http.post(path, json=request)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    answer: dict[str, Any] = response.json()
    return answer


def refused(http: httpx.Client, content: bytes, **headers: str) -> httpx.Response:
    response = http.post(INFER, content=content, headers=JSON | headers)
    assert 400 <= response.status_code < 500, response.text
    assert response.headers["content-type"] == "application/json"  # KServe's client compares
    assert isinstance(response.json()["error"], str)
    return response


@pytest.mark.parametrize("datatype", JSON_DATATYPES)
def test_every_datatype_with_a_json_form_comes_back_as_it_went(
    http: httpx.Client, datatype: str
) -> None:
    outputs = json_outputs(infer(http, json_request(ROWS)))

    tensor, sent = outputs[output_name(datatype)], ROWS[datatype]
    assert tensor["datatype"] == datatype
    assert tensor["shape"] == list(sent.shape)
    found = np.array(tensor["data"], dtype=object).ravel().tolist()
    if sent.dtype.kind == "f":
        assert np.allclose(np.array(found, sent.dtype), sent.ravel(), rtol=1e-6)
    else:
        assert found == to_json(sent)


def test_data_may_be_nested_like_its_shape(http: httpx.Client) -> None:
    request = json_request(ROWS)
    for tensor in request["inputs"]:
        tensor["data"] = np.array(tensor["data"], dtype=object).reshape(tensor["shape"]).tolist()

    nested = infer(http, request)

    assert nested["outputs"] == infer(http, json_request(ROWS))["outputs"]


def test_the_id_is_echoed(http: httpx.Client) -> None:
    assert infer(http, json_request(ROWS, id="a-7"))["id"] == "a-7"


def test_the_answer_names_the_model(http: httpx.Client) -> None:
    assert infer(http, json_request(ROWS))["model_name"] == "identity"


@pytest.mark.extension("versions")
def test_the_answer_names_the_version(http: httpx.Client) -> None:
    assert infer(http, json_request(ROWS))["model_version"] == "1"


def test_a_version_in_the_path_is_obeyed(http: httpx.Client) -> None:
    infer(http, json_request(ROWS), "/v2/models/identity/versions/1/infer")
    unknown = http.post("/v2/models/identity/versions/77/infer", json=json_request(ROWS))
    assert unknown.status_code in UNKNOWN


def test_requested_outputs_come_in_the_requested_order_and_alone(http: httpx.Client) -> None:
    wanted = [output_name(d) for d in ("INT64", "BOOL", "FP32")]
    answer = infer(http, json_request(ROWS, outputs=[{"name": name} for name in wanted]))
    assert [output["name"] for output in answer["outputs"]] == wanted


def test_fields_nobody_knows_are_ignored(http: httpx.Client) -> None:
    infer(http, json_request(ROWS, model_name="identity", flavour="sour"))


def test_parameters_that_clients_send_are_taken(http: httpx.Client) -> None:
    parameters = {"priority": 1, "timeout": 1_000_000, "binary_data_output": False, "triton_x": 1}
    infer(http, json_request(ROWS, parameters=parameters))


def test_answer_parameters_are_strings_numbers_and_booleans(http: httpx.Client) -> None:
    parameters = infer(http, json_request(ROWS)).get("parameters") or {}
    assert all(isinstance(value, (str, int, float, bool)) for value in parameters.values())


@pytest.mark.extension("classification")
def test_classification_gives_the_largest_values_with_their_places(http: httpx.Client) -> None:
    name = output_name("FP32")
    outputs = [{"name": name, "parameters": {"classification": 2}}]
    [tensor] = infer(http, json_request(ROWS, outputs=outputs))["outputs"]

    assert tensor["datatype"] == "BYTES"
    assert tensor["shape"] == [2, 2]
    for row, found in zip(ROWS["FP32"], np.array(tensor["data"]).reshape(2, 2), strict=True):
        places = [int(entry.split(":")[1]) for entry in found]
        assert places == np.argsort(-row)[:2].tolist()
        assert float(found[0].split(":")[0]) == pytest.approx(row.max(), abs=1e-5)


@pytest.mark.extension("compression")
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_request_is_read(http: httpx.Client, encoding: str) -> None:
    body = json.dumps(json_request(ROWS)).encode()
    packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    response = http.post(INFER, content=packed, headers=JSON | {"Content-Encoding": encoding})
    assert response.status_code == 200, response.text


@pytest.mark.extension("compression")
def test_a_compressed_request_that_is_not_is_refused(http: httpx.Client) -> None:
    refused(http, b"not gzip at all", **{"Content-Encoding": "gzip"})


def own_marked(values: Iterable[Any], *own: Any) -> list[Any]:
    """Mark those of the values that the protocol leaves open."""
    return [pytest.param(v, marks=pytest.mark.own) if v in own else v for v in values]


def broken_requests() -> dict[str, dict[str, Any]]:
    def change(**fields: Any) -> dict[str, Any]:
        request = json_request(ROWS)
        first = next(t for t in request["inputs"] if t["datatype"] == "FP32")
        first.update(fields)
        return request

    twice = json_request(ROWS)
    twice["inputs"].append(twice["inputs"][0])
    lacking = json_request(ROWS)
    lacking["inputs"].pop()
    return {
        "no inputs": {"inputs": []},
        "inputs absent": {"id": "x"},
        "an unknown input": change(name="nobody"),
        "an input twice": twice,
        "an input lacking": lacking,
        "a wrong datatype": change(datatype="FP64"),
        "an unknown datatype": change(datatype="FP128"),
        "a negative dimension": change(shape=[-1, 4]),
        "dimensions whose product overflows": change(shape=[2**32, 2**32]),
        "a shape with too few dimensions": change(shape=[8]),
        "too few numbers": change(data=[1.0] * 7),
        "text for numbers": change(data=["x"] * 8),
        "null for numbers": change(data=[None] * 8),
        "an unknown output": json_request(ROWS, outputs=[{"name": "nobody"}]),
        "an output twice": json_request(ROWS, outputs=[{"name": output_name("FP32")}] * 2),
        "inputs that are no list": {"inputs": {"a": 1}},
    }


@pytest.mark.parametrize(
    "problem", own_marked(broken_requests(), "an input twice", "an output twice")
)
def test_a_broken_request_gets_a_4xx_in_the_error_form(http: httpx.Client, problem: str) -> None:
    refused(http, json.dumps(broken_requests()[problem]).encode())


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000, b'{"inputs": %s}' % (b"9" * 6000)],
    ids=["empty", "cut", "array", "null", "string", "no utf-8", "deep", "long number"],
)  # fmt: skip
def test_a_body_that_is_no_request_gets_a_4xx_in_the_error_form(
    http: httpx.Client, body: bytes
) -> None:
    refused(http, body)


NOT_JSON = [b"NaN", b"Infinity", b"-Infinity"]  # RFC 8259, section 6


@pytest.mark.parametrize("number", own_marked([*NOT_JSON, b"1e999"], b"1e999"))
def test_numbers_that_json_does_not_have_are_refused(http: httpx.Client, number: bytes) -> None:
    request = json_request(ROWS)
    tensor = next(t for t in request["inputs"] if t["datatype"] == "FP32")
    tensor["data"][0] = "HERE"
    refused(http, json.dumps(request).encode().replace(b'"HERE"', number))


def test_a_wrong_method_gets_an_error_in_the_error_form(http: httpx.Client) -> None:
    response = http.get(INFER)
    assert response.status_code in (400, 404, 405)
    assert isinstance(response.json()["error"], str)
