"""The guards of a model over the management API: what they find, and that they may act."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from gateway.evaluate.tallies import Hits
from gateway.registry.keys import ApiKeys
from gateway.registry.registry import Registry
from tests.gateway.api.conftest import Bundles, HandFleet, connect

CONFIRM = "/api/v1/models/toy/guards/outlier/confirm"


@pytest.fixture
def seen() -> list[Hits]:
    """What the guard of version 1 found strange, the last one now."""
    return [Hits()]


@pytest.fixture
def report(seen: list[Hits]) -> Callable[[str], dict[str, Any]]:
    def told(model: str) -> dict[str, Any]:
        strange = {"hits": seen[-1].hits, "n": seen[-1].n}
        return {"alpha": 0.05, "versions": [{"version": "1", "strange": strange}]}

    return told


@pytest.fixture
def rejecting(registry: Registry, bundles: Bundles) -> None:
    bundle = bundles(outlier={"alpha": 0.05, "action": "reject"})
    registry.register(bundle, as_="live", trust_code=False, who="test")


@pytest.mark.usefixtures("rejecting")
async def test_a_rate_that_keeps_the_promise_lets_the_guard_act(
    client: httpx.AsyncClient, fleet: HandFleet, registry: Registry, seen: list[Hits]
) -> None:
    seen.append(Hits(60, 3000))
    before = (await client.get("/api/v1/models/toy/guards")).json()
    told = (await client.post(CONFIRM, json={"why": "a week"})).json()

    assert before["guards"][0]["dry_run"]
    assert (before["guards"][0]["state"], before["guards"][0]["share"]) == ("holds", 0.02)
    assert before["guards"][0]["low"] < 0.02 < before["guards"][0]["high"] < 0.05
    assert not told["dry_run"]
    assert [table.dry_run for table in fleet.pushed] == [()]
    assert "0.020 of 3,000 rows" in registry.audit("toy")[-1].why
    assert registry.audit("toy")[-1].why.endswith("; a week")


@pytest.mark.usefixtures("rejecting")
@pytest.mark.parametrize(
    ("hits", "why"),
    [(Hits(), "no rows yet"), (Hits(1, 50), "includes 0.05"), (Hits(600, 3000), "is above 0.05")],
)
async def test_a_rate_that_does_not_is_refused_unless_somebody_insists(
    client: httpx.AsyncClient, fleet: HandFleet, seen: list[Hits], hits: Hits, why: str
) -> None:
    seen.append(hits)
    refused = await client.post(CONFIRM)

    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert why in refused.json()["error"]
    assert fleet.pushed == []

    insisted = await client.post(CONFIRM, json={"anyway": True})
    assert (insisted.status_code, insisted.json()["dry_run"]) == (200, False)


async def test_a_model_without_the_guard_has_nothing_to_confirm(
    client: httpx.AsyncClient, registry: Registry, bundles: Bundles
) -> None:
    registry.register(bundles(), as_="live", trust_code=False, who="test")

    assert (await client.get("/api/v1/models/toy/guards")).json()["guards"] == []
    assert (await client.post(CONFIRM, json={"anyway": True})).status_code == 409


async def test_nobody_confirms_without_the_right_to(app: FastAPI, keys: ApiKeys) -> None:
    async with connect(app, keys.create("register", "bob")) as client:
        assert (await client.post(CONFIRM, json={"anyway": True})).status_code == 403
