"""The client against the real application, and its tensors against a stock client's."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.http import InferInput, InferResult

from gateway.client import AnswerError, Client
from gateway.registry.keys import ApiKeys
from gateway.wire import DATATYPES, HEADER_LENGTH, decode_answer, encode_request
from tests.gateway.api.conftest import Bundles, HandFleet, connect

Handler = Callable[[httpx.Request], httpx.Response]


class Portal(httpx.BaseTransport):
    """Carries the requests of a synchronous client to the application."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        import anyio

        return anyio.run(self._ask, request)

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        async with connect(self._app) as client:
            body = request.read()
            response = await client.request(
                request.method, request.url, content=body, headers=request.headers
            )
        return httpx.Response(
            response.status_code, headers=response.headers, content=response.content
        )


@pytest.fixture
def client(app: FastAPI, keys: ApiKeys) -> Client:
    return Client("http://localhost", keys.create("admin", "ann"), transport=Portal(app))


def answering(handler: Handler) -> Client:
    return Client("http://localhost", transport=httpx.MockTransport(handler))


def test_the_life_of_two_versions(client: Client, bundles: Bundles) -> None:
    assert client.ready()
    assert client.register(bundles().path, as_="live")["live"] == "1"
    assert client.register(bundles("2").path, as_="shadow")["shadow"] == "2"
    assert client.models()[0]["versions"] == {"1": "live", "2": "shadow"}
    assert client.promote("toy", why="it agrees")["live"] == "2"
    assert client.rollback("toy")["live"] == "1"
    assert client.promote("toy", "2")["live"] == "2"
    assert client.report("toy")["model"] == "toy"
    assert client.status()["models"][0]["name"] == "toy"


def test_an_error_of_the_gateway_keeps_its_status_code_and_sentence(client: Client) -> None:
    with pytest.raises(AnswerError, match="unknown model 'toy'") as caught:
        client.rollback("toy")

    assert (caught.value.status, caught.value.code) == (404, "unknown_model")
    twin = pickle.loads(pickle.dumps(caught.value))
    assert (vars(twin), str(twin)) == (vars(caught.value), str(caught.value))


def test_not_ready_is_an_answer_too(client: Client, bundles: Bundles, fleet: HandFleet) -> None:
    client.register(bundles().path, as_="live")
    fleet.unready.add("toy")
    assert not client.ready()


def test_an_answer_that_is_not_the_gateways_is_an_error() -> None:
    def proxy(request: httpx.Request) -> httpx.Response:
        return httpx.Response(502, text="<html>")

    with pytest.raises(AnswerError, match="status 502"):
        answering(proxy).status()


def test_nobody_there_is_told_from_an_error() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    with pytest.raises(AnswerError, match="no answer from http://localhost: conn") as caught:
        answering(refuse).status()
    assert (caught.value.status, caught.value.code) == (0, "unreachable")
    assert not answering(refuse).ready()


@pytest.mark.parametrize("binary", [True, False])
def test_a_request_says_what_was_asked(binary: bool) -> None:
    seen: list[httpx.Request] = []

    def echo(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        message = {
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [0.5, None]}],
            "parameters": {"prediction_id": "p", "served_by": "model"},
        }
        return httpx.Response(200, json=message)

    answer = answering(echo).infer(
        "toy",
        {"x": np.array([[1.5, -2.0]], dtype=np.float32)},
        timeout_ms=12.5,
        version="3",
        outputs=["y", "handrail.p_value"],
        binary=binary,
        request_id="r-1",
    )

    assert (answer.prediction_id, answer.served_by) == ("p", "model")
    np.testing.assert_array_equal(answer.outputs["y"], np.array([[0.5, np.nan]], dtype=np.float32))
    request = seen[0]
    assert request.url.path == "/v2/models/toy/versions/3/infer"
    assert request.headers["x-request-id"] == "r-1"
    body = request.read()
    message = json.loads(body[: int(request.headers.get(HEADER_LENGTH, len(body)))])
    assert message["id"] == "r-1"
    assert message["parameters"] == {"binary_data_output": binary, "timeout": 12_500}
    assert [output["name"] for output in message["outputs"]] == ["y", "handrail.p_value"]
    if not binary:
        assert message["inputs"][0]["data"] == [1.5, -2.0]


def test_what_is_ready_made_is_sent_as_it_is() -> None:
    seen: list[tuple[str, str, bytes]] = []

    def keep(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.path, request.headers["content-type"], request.read()))
        return httpx.Response(200, json={"accepted": 1})

    client = answering(keep)
    lines = {"Content-Type": "application/x-ndjson"}
    assert client.post("/v2/models/toy/feedback", b"{}\n{}", headers=lines) == {"accepted": 1}
    assert client.feedback("toy", [{"prediction_id": "p", "label": 1}]) == {"accepted": 1}

    assert seen == [
        ("/v2/models/toy/feedback", "application/x-ndjson", b"{}\n{}"),
        ("/v2/models/toy/feedback", "application/json", b'[{"prediction_id":"p","label":1}]'),
    ]


# A stock client has no BF16 of its own: it takes float32 and cuts.
arrays = st.sampled_from(sorted(DATATYPES.keys() - {"bfloat16"})).flatmap(
    lambda name: hnp.arrays(
        name,
        hnp.array_shapes(min_dims=1, max_dims=3, max_side=4),
        elements=st.binary(max_size=5) if name == "object" else None,
    )
)


@given(array=arrays)
def test_what_is_sent_as_bytes_is_what_a_stock_client_sends(array: np.ndarray) -> None:
    stock = InferInput("x", list(array.shape), DATATYPES[array.dtype.name])
    stock.set_data_from_numpy(array)

    body, json_bytes = encode_request(
        {"x": array}, timeout_ms=None, outputs=(), binary=True, request_id=None
    )

    assert json.loads(body[:json_bytes])["inputs"] == [stock._get_tensor()]
    assert body[json_bytes:] == stock._get_binary_data()


@given(array=arrays)
def test_an_answer_in_bytes_is_read_as_a_stock_client_reads_it(array: np.ndarray) -> None:
    request, json_bytes = encode_request(
        {"x": array}, timeout_ms=None, outputs=(), binary=True, request_id=None
    )
    message = json.loads(request[:json_bytes])
    head = json.dumps({"outputs": message["inputs"]}).encode()
    body = head + request[json_bytes:]

    ours = decode_answer(body, str(len(head))).outputs["x"]
    stock = InferResult.from_response_body(body, header_length=len(head)).as_numpy("x")

    assert ours.dtype == array.dtype
    np.testing.assert_array_equal(ours, array)
    np.testing.assert_array_equal(ours, stock)


@given(items=st.lists(st.binary(max_size=8), max_size=5))
def test_byte_strings_are_cut_apart_where_they_begin(items: list[bytes]) -> None:
    part = b"".join(len(item).to_bytes(4, "little") + item for item in items)
    tensor = {
        "name": "handrail.reasons",
        "datatype": "BYTES",
        "shape": [len(items)],
        "parameters": {"binary_data_size": len(part)},
    }
    head = json.dumps({"outputs": [tensor]}).encode()

    outputs = decode_answer(head + part, str(len(head))).outputs

    assert list(outputs["handrail.reasons"]) == items


def test_numbers_that_json_cannot_carry_are_not_sent(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode_request(
            {"x": np.array([np.nan])}, timeout_ms=None, outputs=(), binary=False, request_id=None
        )


def test_an_import_of_any_length_goes_in_parts_and_names_the_part_that_was_refused() -> None:
    sent: list[int] = []

    def handle(request: httpx.Request) -> httpx.Response:
        lines = request.read().split()
        sent.append(len(lines))
        if b"bad" in lines:
            sentence = "feedback: line 1: it is malformed"
            return httpx.Response(400, json={"error": sentence, "code": "bad_request"})
        return httpx.Response(200, json={"accepted": len(lines) - 1, "duplicates": 1})

    told = answering(handle).import_feedback("toy", b"{}\n" * 12_000)

    assert (sent, told) == ([5000, 5000, 2000], {"accepted": 11_997, "duplicates": 3})
    with pytest.raises(AnswerError, match=r"line 1: it is malformed .*from line 5001"):
        answering(handle).import_feedback("toy", b"{}\n" * 5000 + b"bad\n")
