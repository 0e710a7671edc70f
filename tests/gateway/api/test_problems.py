"""Every error on every route has the one body."""

import logging

import httpx
import pytest
from fastapi import FastAPI

from tests.gateway.api.conftest import connect


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("GET", "/redoc", 404, "not_found"),
        ("GET", "/api/v1/nowhere", 404, "not_found"),
        ("POST", "/v2/repository/models/toy/reload", 404, "not_found"),
        ("POST", "/v2", 405, "method_not_allowed"),
        ("PUT", "/api/v1/models/toy/promote", 405, "method_not_allowed"),
        ("GET", "/api/v1/models/" + "x" * 64, 400, "bad_request"),
        ("GET", "/api/v1/models/Toy", 400, "bad_request"),
        ("POST", "/api/v1/models/toy/rollback", 404, "unknown_model"),
    ],
)
async def test_every_error_has_the_contract_body(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    response = await client.request(method, path, headers={"x-request-id": "r-7"})

    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error", "code", "request_id"}
    assert (body["code"], body["request_id"]) == (code, "r-7")


async def test_a_method_that_works_is_named(client: httpx.AsyncClient) -> None:
    response = await client.post("/v2")
    assert response.headers["allow"] == "GET"
    assert response.json()["error"] == "method not allowed here; use GET"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "\r\n", "é"])
async def test_a_request_id_that_could_do_harm_is_replaced(
    client: httpx.AsyncClient, given: str
) -> None:
    response = await client.get("/nowhere", headers={b"x-request-id": given.encode("latin-1")})
    assert len(response.json()["request_id"]) == 32


async def test_an_unforeseen_failure_says_nothing_and_is_logged(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("the password is in here")

    app.add_api_route("/v2/fail", fail)
    async with connect(app) as client:
        with caplog.at_level(logging.ERROR):
            response = await client.get("/v2/fail", headers={"x-request-id": "r-8"})

    assert response.status_code == 500
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"error": "internal error", "code": "internal", "request_id": "r-8"}
    assert "request r-8 failed" in caplog.text


async def test_the_description_of_the_api_is_there(client: httpx.AsyncClient) -> None:
    description = (await client.get("/api/v1/openapi.json")).json()
    register = description["paths"]["/api/v1/models"]["post"]
    assert "application/x-tar" in register["requestBody"]["content"]
