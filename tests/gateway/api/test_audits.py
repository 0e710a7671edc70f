"""Audits over HTTP."""

from pathlib import Path

import httpx
import numpy as np
import pytest

from gateway.config import Config
from gateway.evaluate.judgements import Judgements
from gateway.record.evidence import Evidence
from gateway.registry.database import open_database
from gateway.registry.registry import Registry
from tests.gateway.evaluate.traffic import captured_decisions, draw_world, pack_classifier

ROWS = 300


@pytest.fixture
def served(registry: Registry, config: Config, tmp_path: Path) -> str:
    """A classifier that answered some captured requests."""
    bundle = pack_classifier(tmp_path / "bundle" / "1")
    registry.register(bundle, as_="live", trust_code=False, who="test")
    decisions = captured_decisions(draw_world(ROWS, np.random.default_rng(0)))
    Evidence(config.evidence_url).append(decisions, through={})
    Judgements(open_database(config.database_url)).record(decisions)
    return "mlp"


async def test_chosen_rows_are_told_with_their_chance_and_wait(
    client: httpx.AsyncClient, served: str
) -> None:
    told = await client.post(f"/api/v1/models/{served}/audits", json={"budget": 40})

    assert told.status_code == 200
    chosen = told.json()["chosen"]
    assert 10 < len(chosen) < 80
    assert all(0 < one["propensity"] <= 1 and one["row"] == 0 for one in chosen)
    waiting = (await client.get(f"/api/v1/models/{served}/audits")).json()["waiting"]
    assert {one["prediction_id"] for one in waiting} == {one["prediction_id"] for one in chosen}


@pytest.mark.parametrize(
    ("model", "body", "status", "says"),
    [
        ("mlp", {"budget": 0}, 400, "budget"),
        ("mlp", {"budget": 5001}, 400, "budget"),
        ("mlp", {"budget": "many"}, 400, "budget"),
        ("mlp", {}, 400, "budget"),
        ("nobody", {"budget": 1}, 404, "nobody"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_a_sentence(
    client: httpx.AsyncClient,
    served: str,
    model: str,
    body: dict[str, object],
    status: int,
    says: str,
) -> None:
    answer = await client.post(f"/api/v1/models/{model}/audits", json=body)

    assert answer.status_code == status
    assert says in answer.json()["error"]


async def test_a_second_audit_of_the_same_rows_is_a_conflict(
    client: httpx.AsyncClient, served: str
) -> None:
    await client.post(f"/api/v1/models/{served}/audits", json={"budget": 40})

    again = await client.post(f"/api/v1/models/{served}/audits", json={"budget": 40})

    assert again.status_code == 409


async def test_choosing_needs_a_key(
    client: httpx.AsyncClient, stranger: httpx.AsyncClient, served: str
) -> None:
    told = await stranger.post(f"/api/v1/models/{served}/audits", json={"budget": 40})

    assert told.status_code == 401
