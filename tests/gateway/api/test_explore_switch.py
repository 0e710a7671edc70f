"""The kill switch over the management API."""

import httpx
import pytest

from gateway.errors import NotReadyError
from gateway.registry.registry import Registry
from gateway.registry.routing import RoutingTable
from gateway.registry.switches import Switch
from tests.gateway.api.conftest import Bundles, HandFleet


@pytest.fixture
def live(registry: Registry, bundles: Bundles) -> RoutingTable:
    return registry.register(bundles(), as_="live", trust_code=False, who="test")


async def test_off_for_all_reaches_every_model_and_stays(
    client: httpx.AsyncClient, fleet: HandFleet, live: RoutingTable
) -> None:
    told = await client.post("/api/v1/explore", json={"on": False, "why": "a bad day"})
    one = await client.post("/api/v1/models/toy/explore", json={"on": True})
    state = (await client.get("/api/v1/explore")).json()

    assert told.json() == {"model": None, "on": False, "acknowledged": {"toy": 2}}
    assert one.json()["acknowledged"] == {"toy": 2}
    assert fleet.switched == [("toy", False), ("toy", False)]
    assert (state["everywhere"], state["models"]) == (False, {"toy": False})
    assert [row["why"] for row in state["history"]] == ["a bad day", ""]
    assert all("ann" in row["who"] and row["at"].endswith("+00:00") for row in state["history"])


async def test_one_model_is_switched_alone(
    client: httpx.AsyncClient, fleet: HandFleet, live: RoutingTable
) -> None:
    await client.post("/api/v1/models/toy/explore", json={"on": False})

    assert fleet.switched == [("toy", False)]
    state = (await client.get("/api/v1/explore")).json()
    assert (state["everywhere"], state["models"]) == (True, {"toy": False})


async def test_an_unknown_model_is_404(client: httpx.AsyncClient) -> None:
    assert (
        await client.post("/api/v1/models/nobody/explore", json={"on": False})
    ).status_code == 404


async def test_replicas_that_cannot_be_told_are_counted_and_look_by_themselves(
    client: httpx.AsyncClient,
    fleet: HandFleet,
    live: RoutingTable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silent(model: str, switch: Switch) -> int:
        raise NotReadyError(f"the replicas of model {model!r}")

    monkeypatch.setattr(fleet, "explore", silent)
    told = await client.post("/api/v1/explore", json={"on": False})

    assert told.status_code == 200
    assert told.json()["acknowledged"] == {"toy": 0}
    assert (await client.get("/api/v1/explore")).json()["everywhere"] is False
