"""Where no replica is up: the constant of the ladder, and a record of whoever asked."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from gateway import stand_ins
from gateway.config import Config, load_config
from gateway.registry.artifacts import ArtifactStore
from gateway.registry.database import open_database
from gateway.registry.registry import Registry
from gateway.running import leave_settings
from gateway.serving.edge import Edge
from gateway.stand_ins import StandIns
from models.bundle import Bundle
from models.signing import SigningKey
from tests.gateway.registry.bundles import make_bundle
from tests.gateway.serving.killer import build_killer


async def nobody(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("Serve is asked")


def begin(state: Path, *bundles: Bundle) -> httpx.AsyncClient:
    """Register models of which nobody is up, and ask at the edge of Serve's fallback proxy."""
    config = load_config(state)
    state.mkdir()
    registry = Registry(open_database(config.database_url), ArtifactStore(config.artifacts_url))
    for bundle in bundles:
        registry.register(bundle, as_="live", trust_code=False, who="test")
    leave_settings(config)
    edge = Edge(nobody, ["127.0.0.1"], behind_haproxy=True, stand_in_for=StandIns(state).find)
    return httpx.AsyncClient(transport=httpx.ASGITransport(edge), base_url="http://127.0.0.1")


def body(rows: int, *, name: str = "x", width: int = 1) -> dict[str, Any]:
    data = np.zeros(rows * width).tolist()
    tensor = {"name": name, "shape": [rows, width], "datatype": "FP32", "data": data}
    return {"inputs": [tensor]}


async def test_every_row_is_answered_with_the_constant(tmp_path: Path, key: SigningKey) -> None:
    bundle = build_killer(tmp_path / "bundles", key, ladder=True)
    async with begin(tmp_path / "state", bundle) as client:
        answer = await client.post("/v2/models/killer/infer", json=body(3))

    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["parameters"]["served_by"] == "fallback:constant"
    assert told["parameters"]["fallback_reason"] == "no_replica"
    assert told["outputs"][0]["shape"] == [3, 1]


@pytest.mark.parametrize(
    ("path", "sent", "status", "code"),
    [
        ("/v2/models/killer/infer", body(1, name="other"), 400, "missing_input"),
        ("/v2/models/toy/infer", body(1, width=2), 503, "not_ready"),  # it has no constant
        ("/v2/models/stranger/infer", body(1), 503, "not_ready"),
        ("/v2/models/killer/stats", body(1), 503, "not_ready"),
    ],
)
async def test_nothing_is_answered_that_no_replica_would_answer(
    tmp_path: Path, key: SigningKey, path: str, sent: dict[str, Any], status: int, code: str
) -> None:
    bundles = (
        build_killer(tmp_path / "bundles", key, ladder=True),
        make_bundle(tmp_path / "toy", key=key),
    )
    async with begin(tmp_path / "state", *bundles) as client:
        answer = await client.post(path, json=sent)
        ready = await client.get("/v2/models/killer/ready")

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ready.status_code == 503


@pytest.fixture
def may_be_made(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Hold the making of a stand-in for the model ``slow`` up until this is set."""
    may_be_made = asyncio.Event()
    make = stand_ins._stand_in

    async def make_slowly(model: str, config: Config) -> Any:
        if model == "slow":
            await may_be_made.wait()
        return await make(model, config)

    monkeypatch.setattr(stand_ins, "_stand_in", make_slowly)
    return may_be_made


async def test_who_stands_in_already_waits_for_no_other_to_be_made(
    tmp_path: Path, key: SigningKey, may_be_made: asyncio.Event
) -> None:
    bundles = [
        build_killer(tmp_path / name, key, name=name, ladder=True) for name in ("quick", "slow")
    ]
    async with begin(tmp_path / "state", *bundles) as client:
        await client.post("/v2/models/quick/infer", json=body(1))
        held_up = asyncio.create_task(client.post("/v2/models/slow/infer", json=body(1)))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(10):
            meanwhile = await client.post("/v2/models/quick/infer", json=body(1))
        assert not held_up.done()
        may_be_made.set()

        assert meanwhile.status_code == (await held_up).status_code == 200


async def test_the_budget_pays_for_making_the_stand_in(
    tmp_path: Path, key: SigningKey, may_be_made: asyncio.Event
) -> None:
    bundle = build_killer(tmp_path / "bundles", key, name="slow", budget_ms=30_000, ladder=True)
    hurry = {"x-request-timeout-ms": "50"}
    async with begin(tmp_path / "state", bundle) as client:
        asked = client.post("/v2/models/slow/infer", json=body(1), headers=hurry)
        asking = asyncio.create_task(asked)
        await asyncio.sleep(0.1)
        may_be_made.set()
        first = await asking
        second = await client.post("/v2/models/slow/infer", json=body(1))

    assert first.json()["parameters"]["deadline_left_us"] < 0
    assert second.json()["parameters"]["deadline_left_us"] > 0


async def test_before_a_gateway_has_run_nobody_stands_in(tmp_path: Path) -> None:
    find = StandIns(tmp_path / "state").find

    assert await find({"method": "POST", "path": "/v2/models/killer/infer"}) is None
