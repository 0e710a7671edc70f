"""Who may call what, on every route there is."""

import itertools

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from gateway.api.access import CALLER, Access, Message, Receive, Scope, Send
from gateway.api.app import build_api, is_loopback, open_rights
from gateway.api.protocol import NOT_SERVED
from gateway.config import load_config
from gateway.registry.keys import GRANTS, ApiKeys, Right, Role
from tests.gateway.api.conftest import HandFleet, connect

NEEDED: dict[tuple[str, str], Right | None] = {
    ("GET", "/v2"): None,
    ("GET", "/v2/"): None,
    ("GET", "/v2/health/live"): None,
    ("GET", "/v2/health/ready"): None,
    ("GET", "/v2/models"): None,
    ("GET", "/v2/models/stats"): None,
    ("POST", "/v2/repository/index"): None,
    ("POST", "/v2/repository/models/{model}/load"): "operate",
    ("POST", "/v2/repository/models/{model}/unload"): "operate",
    ("GET", "/api/v1/status"): "read",
    ("GET", "/api/v1/models"): "read",
    ("POST", "/api/v1/models"): "register",
    ("GET", "/api/v1/models/{model}"): "read",
    ("GET", "/api/v1/models/{model}/report"): "read",
    ("GET", "/api/v1/models/{model}/audit"): "audit",
    ("POST", "/api/v1/models/{model}/promote"): "operate",
    ("POST", "/api/v1/models/{model}/rollback"): "operate",
    ("GET", "/api/v1/models/{model}/guards"): "read",
    ("POST", "/api/v1/models/{model}/guards/outlier/confirm"): "operate",
    ("GET", "/api/v1/models/{model}/quarantine"): "read",
    ("GET", "/api/v1/models/{model}/estimate"): "read",
    ("GET", "/api/v1/models/{model}/audits"): "read",
    ("POST", "/api/v1/models/{model}/audits"): "operate",
    ("GET", "/api/v1/models/{model}/export"): "read",
    ("GET", "/api/v1/explore"): "read",
    ("POST", "/api/v1/explore"): "operate",
    ("POST", "/api/v1/models/{model}/explore"): "operate",
    ("DELETE", "/api/v1/models/{model}/quarantine/{fingerprint}"): "operate",
    ("GET", "/api/v1/openapi.json"): "read",
    ("HEAD", "/api/v1/openapi.json"): "read",
}
ROLES: tuple[Role | None, ...] = (None, *GRANTS)


async def ask(client: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    path = path.replace("{model}", "toy").replace("{fingerprint}", "0" * 32)
    return await client.request(method, path, params={"as": "shadow"})


@pytest.mark.parametrize(("route", "role"), list(itertools.product(NEEDED, ROLES)))
async def test_a_route_answers_exactly_the_roles_that_have_the_right(
    app: FastAPI, keys: ApiKeys, route: tuple[str, str], role: Role | None
) -> None:
    right = NEEDED[route]
    async with connect(app, keys.create(role, "somebody") if role else None) as client:
        status = (await ask(client, *route)).status_code

    if right is None or right in open_rights("127.0.0.1"):
        assert status not in (401, 403)
    elif role is None:
        assert status == 401
    else:
        assert (status == 403) == (right not in GRANTS[role])
        assert status != 401


def test_every_route_is_in_the_table(app: FastAPI) -> None:
    routes = {
        (method, str(context.path))
        for context in iter_route_contexts(app.router.routes)
        for method in context.methods or ()
        if context.path != "/v2/models/{rest:path}" and context.path not in NOT_SERVED
    }
    assert routes == set(NEEDED)


async def test_away_from_loopback_reading_needs_a_key_too(
    registry: object, keys: ApiKeys, tmp_path: object
) -> None:
    config = load_config(tmp_path / "state", server={"host": "192.0.2.7"})  # type: ignore[operator]
    app = build_api(
        registry=registry,  # type: ignore[arg-type]
        keys=keys,
        fleet=HandFleet(),
        config=config,
        trusted=lambda: None,  # type: ignore[arg-type, return-value]
        report=lambda model: {},
        log=None,  # type: ignore[arg-type]  # nobody gets that far
        auditor=None,  # type: ignore[arg-type]
    )
    async with connect(app) as stranger, connect(app, keys.create("audit", "ann")) as auditor:
        assert (await stranger.get("/api/v1/models")).status_code == 401
        assert (await stranger.get("/v2/health/live")).status_code == 200
        assert (await auditor.get("/api/v1/models")).status_code == 200


@pytest.mark.parametrize(
    ("host", "yes"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True),
     ("0.0.0.0", False), ("192.0.2.7", False), ("example.org", False), ("localhost.evil", False)],
)  # fmt: skip
def test_loopback_is_told_from_the_rest(host: str, yes: bool) -> None:
    assert is_loopback(host) == yes


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:65535", "[::1]:8000"])
async def test_allowed_hosts_are_answered(stranger: httpx.AsyncClient, host: str) -> None:
    assert (await stranger.get("/v2", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "localhost@evil", "127.0.0.1.evil", "[::1", "",
     "localhost:", "localhost:80:80", "localhost:port", "localhost/..", "localhost evil", "é"],
)  # fmt: skip
async def test_other_hosts_are_refused(stranger: httpx.AsyncClient, host: str) -> None:
    response = await stranger.get("/v2", headers={b"host": host.encode("latin-1")})

    assert response.status_code == 403
    assert response.json()["code"] == "forbidden"


async def test_two_hosts_are_refused(stranger: httpx.AsyncClient) -> None:
    headers = [("host", "localhost"), ("host", "localhost")]
    assert (await stranger.get("/v2", headers=headers)).status_code == 403


@pytest.mark.parametrize("origin", ["http://localhost", "http://evil.example", "null", ""])
async def test_whatever_a_web_page_sends_is_refused(client: httpx.AsyncClient, origin: str) -> None:
    for path in ("/v2", "/api/v1/models"):
        response = await client.get(path, headers={"origin": origin})
        assert response.status_code == 403


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic YTpi", "hk_1.x", "Bearer é"]
)
async def test_a_key_that_nobody_holds_is_never_ignored(
    stranger: httpx.AsyncClient, authorization: str
) -> None:
    headers = {b"authorization": authorization.encode("latin-1")}
    for path in ("/v2", "/api/v1/models"):
        response = await stranger.get(path, headers=headers)
        assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"


async def test_two_keys_are_refused(app: FastAPI, keys: ApiKeys) -> None:
    key = f"Bearer {keys.create('admin', 'ann')}"
    async with connect(app) as client:
        headers = [("authorization", key), ("authorization", key)]
        assert (await client.get("/v2", headers=headers)).status_code == 401


@pytest.mark.parametrize(
    "path",
    ["/api/v1/models/toy/promote/", "//api/v1/models/toy/promote", "/API/v1/models/toy/promote",
     "/v2/../api/v1/models/toy/promote", "/api/v1/models%2Ftoy%2Fpromote",
     "/%2561pi/v1/models/toy/promote", "/api/v1/models/toy/promote%00"],
)  # fmt: skip
async def test_no_spelling_of_a_path_gets_around_the_key(
    stranger: httpx.AsyncClient, path: str
) -> None:
    response = await stranger.post(httpx.URL("http://localhost", raw_path=path.encode()))
    assert response.status_code in (401, 404)


async def test_the_rule_sees_the_path_that_the_router_sees(keys: ApiKeys) -> None:
    """Behind a prefix, both drop it."""
    sent: list[Message] = []

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("admitted")

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "POST", "headers": [], "root_path": "/inside"}
    await Access(behind, (), keys=keys)(
        {**scope, "path": "/inside/api/v1/models/toy/promote"}, receive, send
    )

    assert sent[0]["status"] == 401


async def test_websockets_are_closed(keys: ApiKeys) -> None:
    sent: list[Message] = []

    async def unreachable(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("admitted")

    async def send(message: Message) -> None:
        sent.append(message)

    access = Access(unreachable, (), keys=keys)
    await access({"type": "websocket", "path": "/v2"}, None, send)  # type: ignore[arg-type]

    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_another_application_can_bring_its_own_rule(keys: ApiKeys) -> None:
    """As a model's replica does: inference needs a right of its own."""
    admitted: list[object] = []

    async def replica(scope: Scope, receive: Receive, send: Send) -> None:
        admitted.append(scope[CALLER])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    access = Access(replica, ("localhost",), keys=keys, right_for=lambda method, path: "infer")
    transport = httpx.ASGITransport(access)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        bearer = {"authorization": f"Bearer {keys.create('infer', 'app')}"}
        assert (await client.post("/v2/models/toy/infer")).status_code == 401
        assert (await client.post("/v2/models/toy/infer", headers=bearer)).status_code == 200
    assert str(admitted[0]).startswith("app (")
