import httpx
import pytest

from gateway.registry.registry import Registry
from tests.gateway.api.conftest import Bundles, HandFleet


def code_of(response: httpx.Response) -> str:
    """Read the code of an error; an answer to HEAD has a status and headers only."""
    if response.request.method == "HEAD":
        return {404: "unknown_model", 405: "method_not_allowed"}[response.status_code]
    return str(response.json()["code"])


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
    assert response.json()["extensions"] == [
        "binary_tensor_data",
        "classification",
        "model_configuration",
        "model_repository",
        "parameters",
        "statistics",
    ]
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


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("rest", ["", "/infer", "/ready", "/versions/1/infer"])
async def test_a_model_that_nobody_registered_is_unknown(
    stranger: httpx.AsyncClient, method: str, rest: str
) -> None:
    response = await stranger.request(method, f"/v2/models/toy{rest}")
    assert (response.status_code, code_of(response)) == (404, "unknown_model")
    assert response.headers["content-type"] == "application/json"


async def test_a_registered_model_that_no_replica_serves_yet_is_not_unknown(
    stranger: httpx.AsyncClient, toy: None
) -> None:
    response = await stranger.post("/v2/models/toy/infer")
    assert (response.status_code, response.json()["code"]) == (503, "not_ready")


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/stats/infer",
        "/v2/models/%2e%2e%2f",
        "/v2/models/A",
        "/v2/models/a%00",
        "/v2/models/to%79",
        "/v2/x",
        "/v2/repository/index/",
    ],
)
async def test_what_cannot_be_a_model_is_just_no_path(
    stranger: httpx.AsyncClient, toy: None, path: str
) -> None:
    response = await stranger.get(path)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2"),
        ("HEAD", "/v2"),
        ("OPTIONS", "/v2"),
        ("DELETE", "/v2/health/live"),
        ("POST", "/v2/models"),
        ("POST", "/v2/models/stats"),
        ("GET", "/v2/repository/index"),
    ],
)
async def test_the_wrong_method_is_said_to_be_wrong(
    stranger: httpx.AsyncClient, method: str, path: str
) -> None:
    response = await stranger.request(method, path)

    assert (response.status_code, code_of(response)) == (405, "method_not_allowed")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["allow"] in ("GET", "POST")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        "/v2/systemsharedmemory/status",
        "/v2/systemsharedmemory/region/a/register",
        "/v2/cudasharedmemory/unregister",
        "/v2/trace/setting",
        "/v2/logging",
    ],
)
async def test_what_is_not_served_is_refused_in_the_error_form(
    stranger: httpx.AsyncClient, method: str, path: str
) -> None:
    response = await stranger.request(method, path)

    assert (response.status_code, response.json()["code"]) == (501, "unsupported")
    assert set(response.json()) == {"error", "code", "request_id"}


async def test_statistics_are_of_every_version_that_answers(
    stranger: httpx.AsyncClient, fleet: HandFleet, toy: None
) -> None:
    fleet.answers["toy"] = ["1", "2"]

    told = (await stranger.get("/v2/models/stats")).json()

    assert told == {
        "model_stats": [{"name": "toy", "version": "1"}, {"name": "toy", "version": "2"}]
    }
