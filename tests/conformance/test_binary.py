"""The binary tensor data extension, both ways.

Source: Triton, ``extension_binary_data.md``.
"""

import json
from typing import Any

import httpx
import pytest

from tests.conformance.identity import MODELS, input_name, output_name
from tests.conformance.wire import (
    JSON_DATATYPES,
    assert_same,
    binary_request,
    described,
    json_request,
    read_binary,
    rows_of,
    to_bytes,
    to_json,
)

pytestmark = pytest.mark.extension("binary_tensor_data")
LENGTH = "Inference-Header-Content-Length"
ROWS = rows_of(JSON_DATATYPES)
ALL = {"parameters": {"binary_data_output": True}}


def post(
    http: httpx.Client, request: tuple[bytes, dict[str, str]], model: str = "identity"
) -> httpx.Response:
    body, headers = request
    return http.post(f"/v2/models/{model}/infer", content=body, headers=headers)


@pytest.mark.parametrize("model", MODELS)
def test_every_datatype_comes_back_as_it_went(http: httpx.Client, model: str) -> None:
    arrays = rows_of(MODELS[model])

    response = post(http, binary_request(arrays, **ALL), model)

    assert response.status_code == 200, response.text
    found = read_binary(response)
    for datatype, array in arrays.items():
        assert_same(found[output_name(datatype)], array)


def test_json_in_and_binary_out(http: httpx.Client) -> None:
    response = http.post("/v2/models/identity/infer", json=json_request(ROWS, **ALL))
    assert_same(read_binary(response)[output_name("FP64")], ROWS["FP64"])


def test_binary_in_and_json_out_carries_no_length_header(http: httpx.Client) -> None:
    response = post(http, binary_request(ROWS))
    assert response.status_code == 200
    assert LENGTH not in response.headers
    names = {output["name"] for output in response.json()["outputs"]}
    assert output_name("FP32") in names


def test_json_and_binary_mix_in_one_request(http: httpx.Client) -> None:
    raw = to_bytes(ROWS["INT32"])
    inputs = [
        described(d, a, parameters={"binary_data_size": len(raw)})
        if d == "INT32"
        else described(d, a, data=to_json(a))
        for d, a in ROWS.items()
    ]
    head = json.dumps({"inputs": inputs, **ALL}).encode()
    response = post(http, (head + raw, {LENGTH: str(len(head))}))
    assert_same(read_binary(response)[output_name("INT32")], ROWS["INT32"])


def test_each_output_may_say_for_itself(http: httpx.Client) -> None:
    outputs = [
        {"name": output_name("FP32"), "parameters": {"binary_data": False}},
        {"name": output_name("INT8")},
    ]
    response = post(http, binary_request(ROWS, outputs=outputs, **ALL))
    assert set(read_binary(response)) == {output_name("INT8")}


def test_a_raw_request_needs_no_description(http: httpx.Client) -> None:
    rows = rows_of(("FP16",), 1)
    response = post(http, (to_bytes(rows["FP16"]), {LENGTH: "0"}), "half")
    assert response.status_code == 200, response.text
    assert_same(read_binary(response)[output_name("FP16")], rows["FP16"])


@pytest.mark.own  # as Triton and KServe do; MLServer reads it
def test_half_precision_has_no_json_form(http: httpx.Client) -> None:
    request = json_request(rows_of(("FP16",)))
    assert 400 <= http.post("/v2/models/half/infer", json=request).status_code < 500


def lies() -> dict[str, tuple[bytes, dict[str, str]]]:
    """Requests that say something untrue about themselves."""
    rows = rows_of(("FP16",))
    body, headers = binary_request(rows)
    head = int(headers[LENGTH])

    def says(**fields: Any) -> tuple[bytes, dict[str, str]]:
        told = json.dumps({"inputs": [described("FP16", rows["FP16"], **fields)]}).encode()
        return told + body[head:], {LENGTH: str(len(told))}

    def size(value: Any) -> dict[str, Any]:
        return {"parameters": {"binary_data_size": value}}

    return {
        "header past the body": (body, {LENGTH: str(len(body) + 1)}),
        "header enormous": (body, {LENGTH: "99999999999"}),
        "header negative": (body, {LENGTH: "-1"}),
        "header no number": (body, {LENGTH: "x"}),
        "header too short": (body, {LENGTH: str(head - 1)}),
        "header too long": (body, {LENGTH: str(head + 1)}),
        "trailing bytes": (body + b"x", headers),
        "missing bytes": (body[:-1], headers),
        "size negative": says(**size(-16)),
        "size too small": says(**size(15)),
        "size too large": says(**size(17)),
        "size no number": says(**size("16")),
        "data and binary": says(data=[1.0] * 8, **size(16)),
        "neither data nor binary": says(),
        "name unknown": (
            body.replace(input_name("FP16").encode(), b"in_fpXX"),
            headers,
        ),
    }


@pytest.mark.parametrize("lie", lies())
def test_a_lie_gets_a_4xx_in_the_error_form(http: httpx.Client, lie: str) -> None:
    response = post(http, lies()[lie], "half")
    assert 400 <= response.status_code < 500, response.text
    assert isinstance(response.json()["error"], str)


def test_bytes_whose_length_runs_past_the_end_are_refused(http: httpx.Client) -> None:
    rows = dict(ROWS)
    body, headers = binary_request(rows)
    raw = to_bytes(rows["BYTES"])
    lying = (2**31).to_bytes(4, "little") + raw[4:]
    assert body.endswith(raw)
    assert 400 <= post(http, (body[: -len(raw)] + lying, headers)).status_code < 500
