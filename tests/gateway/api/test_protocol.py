import httpx
import pytest

from gateway.registry.registry import Registry
from tests.gateway.api.conftest import Bundles, HandFleet


@pytest.fixture
def toy(registry: Registry, bundles: Bundles) -> None:
    registry.register(bundles(), as_="live", trust_code=False, who="ann")


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
async def test_the_server_describes_itself_and_claims_only_what_is_true(
    stranger: httpx.AsyncClient, path: str
) -> None:
    response = await stranger.get(path)

    assert response.status_code == 200
    assert response.json()["name"] == "handrail"
    assert response.json()["extensions"] == ["binary_tensor_data", "parameters"]
    assert response.headers["content-type"] == "application/json"


async def test_live_is_about_this_process_only(
    stranger: httpx.AsyncClient, fleet: HandFleet, toy: None
) -> None:
    fleet.unready.add("toy")
    assert (await stranger.get("/v2/health/live")).json() == {"live": True}


async def test_ready_without_models(stranger: httpx.AsyncClient) -> None:
    response = await stranger.get("/v2/health/ready")
    assert (response.status_code, response.json()) == (200, {"ready": True, "live": True})


async def test_ready_needs_every_live_model(
    stranger: httpx.AsyncClient,
    registry: Registry,
    bundles: Bundles,
    fleet: HandFleet,
    toy: None,
) -> None:
    registry.register(bundles(name="other"), as_="live", trust_code=False, who="ann")
    assert (await stranger.get("/v2/health/ready")).status_code == 200

    fleet.unready.add("other")

    response = await stranger.get("/v2/health/ready")
    assert response.status_code == 503
    assert response.json()["code"] == "not_ready"
    assert "other" in response.json()["error"]
    assert "toy" not in response.json()["error"]


async def test_models_are_those_that_answer(
    stranger: httpx.AsyncClient, registry: Registry, toy: None
) -> None:
    assert (await stranger.get("/v2/models")).json() == {"models": ["toy"]}

    registry.reject("toy", "1", who="ann", why="broken")

    assert (await stranger.get("/v2/models")).json() == {"models": []}


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


async def test_the_index_can_be_limited_to_what_answers(
    stranger: httpx.AsyncClient, registry: Registry, bundles: Bundles, toy: None
) -> None:
    registry.register(bundles("2"), as_="shadow", trust_code=False, who="ann")
    response = await stranger.post("/v2/repository/index", content=b'{"ready": true}')
    assert [entry["version"] for entry in response.json()] == ["1"]


@pytest.mark.parametrize("body", [b"[", b"[]", b'{"ready": 1}', b"[" * 100_000, b"\xff"])
async def test_a_broken_filter_is_the_callers_fault(
    stranger: httpx.AsyncClient, body: bytes
) -> None:
    response = await stranger.post("/v2/repository/index", content=body)
    assert (response.status_code, response.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("rest", ["", "/infer", "/ready", "/versions/1/infer"])
async def test_a_model_that_nobody_registered_is_unknown(
    stranger: httpx.AsyncClient, method: str, rest: str
) -> None:
    response = await stranger.request(method, f"/v2/models/toy{rest}")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_model")


async def test_a_registered_model_that_no_replica_serves_yet_is_not_unknown(
    stranger: httpx.AsyncClient, toy: None
) -> None:
    response = await stranger.post("/v2/models/toy/infer")
    assert (response.status_code, response.json()["code"]) == (503, "not_ready")


@pytest.mark.parametrize(
    "path", ["/v2/models/stats", "/v2/models/%2e%2e%2f", "/v2/models/A", "/v2/models/a%00", "/v2/x"]
)
async def test_what_cannot_be_a_model_is_just_no_path(
    stranger: httpx.AsyncClient, path: str
) -> None:
    response = await stranger.get(path)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")
