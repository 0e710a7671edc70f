"""Loading, unloading and the index of the model repository."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from gateway.registry.keys import ApiKeys
from gateway.registry.registry import Registry
from tests.gateway.api.conftest import Bundles, HandFleet, connect

LOAD, UNLOAD = "/v2/repository/models/toy/load", "/v2/repository/models/toy/unload"


@pytest.fixture
def toy(registry: Registry, bundles: Bundles, fleet: HandFleet) -> None:
    registry.register(bundles(), as_="live", trust_code=False, who="ann")
    fleet.answers["toy"] = ["1"]


@pytest.fixture
async def operator(app: FastAPI, keys: ApiKeys) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(app, keys.create("operate", "bob")) as client:
        yield client


@pytest.mark.parametrize("body", [b"", b"{}", b'{"ready": false}'])
async def test_the_index_lists_every_version_with_its_state(
    stranger: httpx.AsyncClient, registry: Registry, bundles: Bundles, toy: None, body: bytes
) -> None:
    registry.register(bundles("2"), as_="shadow", trust_code=False, who="ann")

    response = await stranger.post("/v2/repository/index", content=body)

    assert response.json() == [
        {"name": "toy", "version": "1", "state": "READY", "reason": ""},
        {"name": "toy", "version": "2", "state": "UNAVAILABLE", "reason": "shadow"},
    ]


async def test_a_warm_previous_version_is_ready(
    stranger: httpx.AsyncClient,
    registry: Registry,
    bundles: Bundles,
    fleet: HandFleet,
    toy: None,
) -> None:
    registry.register(bundles("2"), as_="live", trust_code=False, who="ann")
    fleet.answers["toy"] = ["1", "2"]

    response = await stranger.post("/v2/repository/index", content=b'{"ready": true}')

    assert [(e["version"], e["state"]) for e in response.json()] == [("1", "READY"), ("2", "READY")]


async def test_the_index_can_be_limited_to_what_answers(
    stranger: httpx.AsyncClient, registry: Registry, bundles: Bundles, toy: None
) -> None:
    registry.register(bundles("2"), as_="shadow", trust_code=False, who="ann")
    response = await stranger.post("/v2/repository/index", content=b'{"ready": true}')
    assert [entry["version"] for entry in response.json()] == ["1"]


@pytest.mark.parametrize("movement", ["LOADING", "UNLOADING"])
async def test_the_index_tells_who_is_coming_up_or_going_away(
    stranger: httpx.AsyncClient, fleet: HandFleet, toy: None, movement: str
) -> None:
    fleet.answers["toy"] = []
    fleet.movements["toy"] = movement  # type: ignore[assignment]

    [entry] = (await stranger.post("/v2/repository/index")).json()

    assert entry["state"] == movement


async def test_a_live_version_that_does_not_answer_is_unavailable(
    stranger: httpx.AsyncClient, fleet: HandFleet, toy: None
) -> None:
    fleet.answers["toy"] = []

    [entry] = (await stranger.post("/v2/repository/index")).json()

    assert (entry["state"], entry["reason"]) == ("UNAVAILABLE", "does not answer")


@pytest.mark.parametrize("body", [b"[", b"[]", b'{"ready": 1}', b"[" * 100_000, b"\xff"])
async def test_a_broken_filter_is_the_callers_fault(
    stranger: httpx.AsyncClient, body: bytes
) -> None:
    response = await stranger.post("/v2/repository/index", content=body)
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


async def test_an_unloaded_model_is_off_but_registered_and_comes_back_as_it_went(
    operator: httpx.AsyncClient,
    registry: Registry,
    bundles: Bundles,
    fleet: HandFleet,
    toy: None,
) -> None:
    registry.register(bundles("2"), as_="live", trust_code=False, who="ann")

    body = b'{"parameters": {"unload_dependents": false}}'
    off = await operator.post(UNLOAD, content=body)
    gone = await operator.post("/v2/models/toy/infer")
    models = (await operator.get("/v2/models")).json()["models"]
    on = await operator.post(LOAD, content=b"{}")

    assert (off.status_code, off.json()) == (200, {"name": "toy", "unload": True})
    assert (gone.status_code, gone.json()["code"]) == (503, "not_ready")
    assert "unloaded" in gone.json()["error"]
    assert models == []
    assert (on.status_code, on.json()) == (200, {"name": "toy", "load": True})
    [table] = registry.tables()
    assert (table.live, table.previous, table.loaded) == ("2", "1", True)
    assert fleet.removed == ["toy"]
    assert fleet.deployed == ["toy"]
    assert [table.loaded for table in fleet.pushed] == [False, True]
    assert [(e.version, e.from_state, e.to_state) for e in registry.audit("toy")][-2:] == [
        ("2", "live", "unloaded"),
        ("2", "unloaded", "live"),
    ]
    assert registry.audit("toy")[-1].who.startswith("bob (")


async def test_loading_what_answers_and_unloading_what_is_off_change_nothing(
    operator: httpx.AsyncClient, registry: Registry, toy: None
) -> None:
    before = registry.audit("toy")
    assert (await operator.post(LOAD)).status_code == 200
    assert registry.audit("toy") == before

    assert (await operator.post(UNLOAD)).status_code == 200
    before = registry.audit("toy")
    assert (await operator.post(UNLOAD)).status_code == 200
    assert registry.audit("toy") == before


async def test_a_model_without_a_live_version_loads_its_newest(
    operator: httpx.AsyncClient, registry: Registry, bundles: Bundles, toy: None
) -> None:
    registry.register(bundles("2"), as_="shadow", trust_code=False, who="ann")
    registry.reject("toy", "1", who="gate", why="broken")
    assert registry.table("toy") is None

    response = await operator.post(LOAD)

    assert response.status_code == 200, response.text
    assert registry.tables()[0].live == "2"


async def test_a_model_whose_versions_are_all_rejected_does_not_load(
    operator: httpx.AsyncClient, registry: Registry, toy: None
) -> None:
    registry.reject("toy", "1", who="gate", why="broken")
    response = await operator.post(LOAD)
    assert (response.status_code, response.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize("verb", ["promote", "rollback"])
async def test_an_unloaded_model_changes_only_by_loading(
    client: httpx.AsyncClient, registry: Registry, bundles: Bundles, toy: None, verb: str
) -> None:
    registry.register(bundles("2"), as_="live", trust_code=False, who="ann")
    await client.post(UNLOAD)

    response = await client.post(f"/api/v1/models/toy/{verb}", json={})

    assert (response.status_code, response.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize("name", ["config", "file:1/model.onnx"])
async def test_loading_something_else_than_was_registered_is_not_served(
    operator: httpx.AsyncClient, toy: None, name: str
) -> None:
    response = await operator.post(LOAD, json={"parameters": {name: "e30="}})
    assert (response.status_code, response.json()["code"]) == (501, "unsupported")


@pytest.mark.parametrize("verb", ["load", "unload"])
async def test_an_unknown_model_is_neither_loaded_nor_unloaded(
    operator: httpx.AsyncClient, verb: str
) -> None:
    response = await operator.post(f"/v2/repository/models/nobody/{verb}")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_model")


@pytest.mark.parametrize("path", [LOAD, UNLOAD])
@pytest.mark.parametrize("body", [b"[", b"[]", b"\xff", b'{"parameters": []}'])
async def test_a_broken_body_is_the_callers_fault(
    operator: httpx.AsyncClient, toy: None, path: str, body: bytes
) -> None:
    response = await operator.post(path, content=body)
    assert response.status_code == (200 if b"parameters" in body and path == UNLOAD else 400)


@pytest.mark.parametrize("path", [LOAD, UNLOAD])
async def test_a_stranger_changes_nothing(
    stranger: httpx.AsyncClient, registry: Registry, toy: None, path: str
) -> None:
    before = registry.audit("toy")
    assert (await stranger.post(path)).status_code == 401
    assert registry.audit("toy") == before
