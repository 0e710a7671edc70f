"""A shadow that lost to the live version is promoted only if somebody insists."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from gateway.registry.registry import Registry
from tests.gateway.api.conftest import Bundles


@pytest.fixture
def report() -> Callable[[str], dict[str, Any]]:
    contest = {"winner": "champion", "rows": 90, "champion_errors": 3, "challenger_errors": 40}
    return lambda model: {"shadow": {"version": "2", "contest": contest}, "expectations": []}


async def test_a_shadow_that_lost_is_promoted_only_if_somebody_insists(
    client: httpx.AsyncClient, registry: Registry, bundles: Bundles
) -> None:
    registry.register(bundles("1"), as_="live", trust_code=False, who="test")
    registry.register(bundles("2"), as_="shadow", trust_code=False, who="test")

    refused = await client.post("/api/v1/models/toy/promote")
    insisted = await client.post("/api/v1/models/toy/promote", json={"anyway": True})

    assert refused.status_code == 409
    assert "40 to 3 of 90 labelled rows" in refused.json()["error"]
    assert insisted.json()["live"] == "2"
