import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from gateway.config import Config
from gateway.registry.deaths import Deaths
from gateway.registry.keys import ApiKeys
from gateway.registry.registry import Registry
from models.bundle import Bundle
from models.signing import SigningKey
from tests.gateway.api.archives import archive, archive_of, entry
from tests.gateway.api.conftest import Bundles, HandFleet, connect

TAR = {"content-type": "application/x-tar"}


async def register(client: httpx.AsyncClient, bundle: Bundle, as_: str = "live") -> httpx.Response:
    body = archive_of(bundle.path)
    return await client.post("/api/v1/models", params={"as": as_}, content=body, headers=TAR)


def staged(config: Config) -> list[Path]:
    return list((config.state / "staging").glob("*"))


async def test_a_registered_bundle_is_deployed_and_routed(
    client: httpx.AsyncClient,
    bundles: Bundles,
    fleet: HandFleet,
    registry: Registry,
    config: Config,
) -> None:
    bundle = bundles()

    response = await register(client, bundle)

    assert response.status_code == 200, response.text
    told = response.json()
    assert told.pop("power")["probes"]["missing"]["share"] == 1.0
    assert told == {
        "model": "toy",
        "version": "1",
        "digest": bundle.digest,
        "state": "live",
        "golden": "reproduced",
        "revision": 1,
        "live": "1",
        "shadow": None,
        "previous": None,
        "dry_run": [],
        "acknowledged": 2,
        "contract": None,
    }
    assert fleet.deployed == ["toy"]
    assert fleet.pushed == registry.tables()
    assert fleet.shadow_changes == 1
    assert staged(config) == []
    fetched = registry.artifacts.fetch(bundle.digest, config.bundle_cache_dir)
    assert (fetched / "model.yaml").read_bytes() == bundle.read("model.yaml")


async def test_every_version_tells_what_its_guards_notice(
    client: httpx.AsyncClient, bundles: Bundles, config: Config
) -> None:
    bundle = bundles()
    registered = (await register(client, bundle)).json()
    (version,) = (await client.get("/api/v1/models/toy")).json()["versions"]

    assert version["power"] == registered["power"]
    assert version["power"]["promise"] is None  # the toy has no outlier guard
    assert set(version["power"]["probes"]["all_zero"]["by"]) == {"schema"}

    blob = bundle.digests["power.json"].removeprefix("sha256:")
    (config.state / "artifacts" / "blobs" / blob).unlink()
    (version,) = (await client.get("/api/v1/models/toy")).json()["versions"]
    assert version["power"] is None


async def test_the_audit_trail_names_the_key(
    client: httpx.AsyncClient, bundles: Bundles, registry: Registry
) -> None:
    await register(client, bundles())
    assert {row.who.partition(" ")[0] for row in registry.audit("toy")} == {"ann"}


async def test_registering_again_repairs_what_does_not_run(
    client: httpx.AsyncClient, bundles: Bundles, fleet: HandFleet
) -> None:
    bundle = bundles()
    await register(client, bundle)
    again = await register(client, bundle)

    assert again.json()["revision"] == 1
    assert fleet.deployed == ["toy", "toy"]


async def test_a_shadow_is_pushed_and_the_evaluator_told(
    client: httpx.AsyncClient, bundles: Bundles, fleet: HandFleet
) -> None:
    await register(client, bundles())
    response = await register(client, bundles("2"), "shadow")

    assert (response.json()["live"], response.json()["shadow"]) == ("1", "2")
    assert fleet.deployed == ["toy"]
    assert fleet.pushed[-1].shadow == "2"
    assert fleet.shadow_changes == 2


async def test_a_registration_says_what_became_of_the_live_versions_contract(
    client: httpx.AsyncClient, bundles: Bundles
) -> None:
    await register(client, bundles())

    same = await register(client, bundles("2"), "shadow")
    described = {"name": "x", "count": 2, "unit": "km"}
    changed = await register(client, bundles("3", schema={"features": [described]}), "shadow")

    assert same.json()["contract"] == {"since": "1", "verdict": "same", "changes": []}
    assert changed.json()["contract"]["verdict"] == "breaking"
    assert "x was in no unit and is in km" in changed.json()["contract"]["changes"]


async def test_promotion_and_rollback_reach_the_replicas(
    client: httpx.AsyncClient, bundles: Bundles, fleet: HandFleet
) -> None:
    await register(client, bundles())
    await register(client, bundles("2"), "shadow")

    promoted = await client.post("/api/v1/models/toy/promote", json={"why": "it agrees"})
    assert promoted.json() == {
        "model": "toy",
        "revision": 3,
        "live": "2",
        "shadow": None,
        "previous": "1",
        "dry_run": [],
        "acknowledged": 2,
    }
    returned = await client.post("/api/v1/models/toy/rollback")
    assert (returned.status_code, returned.json()["live"]) == (200, "1")
    assert [table.live for table in fleet.pushed] == ["1", "1", "2", "1"]

    trail = (await client.get("/api/v1/models/toy/audit")).json()["audit"]
    assert [(row["version"], row["from_state"], row["to_state"]) for row in trail] == [
        ("1", None, "registered"),
        ("1", "registered", "live"),
        ("2", None, "registered"),
        ("2", "registered", "shadow"),
        ("1", "live", "retired"),
        ("2", "shadow", "live"),
        ("2", "live", "retired"),
        ("1", "retired", "live"),
    ]
    assert trail[5]["why"] == "it agrees"
    assert trail[0]["at"].endswith("+00:00")


async def test_a_version_that_does_not_start_is_rejected_and_the_old_one_stays(
    client: httpx.AsyncClient, bundles: Bundles, fleet: HandFleet, registry: Registry
) -> None:
    await register(client, bundles())
    fleet.replicas = 0

    response = await register(client, bundles("2"))

    assert (response.status_code, response.json()["code"]) == (503, "not_ready")
    assert [(row.version, row.state) for row in registry.versions("toy")] == [
        ("1", "live"),
        ("2", "rejected"),
    ]
    assert registry.audit("toy")[-2].why.startswith("did not start: not ready: no replica")
    assert [table.live for table in fleet.pushed] == ["1", "2", "1"]


async def test_a_first_version_that_does_not_start_leaves_no_live_model(
    client: httpx.AsyncClient, bundles: Bundles, fleet: HandFleet, registry: Registry
) -> None:
    bundle = bundles()
    fleet.fails_to_deploy = True
    assert (await register(client, bundle)).status_code == 503
    assert registry.tables() == []

    fleet.fails_to_deploy = False
    assert (await register(client, bundle)).status_code == 200


async def test_a_failed_rollback_or_repetition_rejects_nobody(
    client: httpx.AsyncClient, bundles: Bundles, fleet: HandFleet, registry: Registry
) -> None:
    first = bundles()
    await register(client, first)
    await register(client, bundles("2"))
    fleet.replicas = 0

    assert (await client.post("/api/v1/models/toy/rollback")).status_code == 503
    assert (await register(client, first)).status_code == 503

    states = {row.version: row.state for row in registry.versions("toy")}
    assert states == {"1": "live", "2": "retired"}


async def test_a_change_goes_on_when_the_caller_hangs_up(
    client: httpx.AsyncClient, bundles: Bundles, fleet: HandFleet, registry: Registry
) -> None:
    fleet.hold = asyncio.Event()
    call = asyncio.create_task(register(client, bundles()))
    while not registry.tables():
        await asyncio.sleep(0.01)
    call.cancel()
    fleet.hold.set()
    async with asyncio.timeout(5):
        while not fleet.shadow_changes:
            await asyncio.sleep(0.01)

    assert fleet.pushed == registry.tables()


async def test_changes_of_one_model_wait_for_each_other(
    client: httpx.AsyncClient, bundles: Bundles, fleet: HandFleet
) -> None:
    await register(client, bundles())
    await register(client, bundles("2"))
    fleet.delays_s = [0.3, 0.2, 0.1]  # without waiting, the last would arrive first
    promotions = [
        client.post("/api/v1/models/toy/promote", json={"version": str(turn % 2 + 1)})
        for turn in range(6)
    ]

    responses = await asyncio.gather(*promotions)

    assert {response.status_code for response in responses} == {200}
    revisions = [table.revision for table in fleet.pushed]
    assert revisions == sorted(revisions)


async def test_a_registrar_does_not_route_traffic(
    app: FastAPI, keys: ApiKeys, client: httpx.AsyncClient, bundles: Bundles
) -> None:
    await register(client, bundles())
    async with connect(app, keys.create("register", "pipeline")) as registrar:
        assert (await register(registrar, bundles("2"))).status_code == 403
        assert (await register(registrar, bundles("2"), "shadow")).status_code == 200
        assert (await registrar.post("/api/v1/models/toy/promote")).status_code == 403


async def refused(client: httpx.AsyncClient, body: bytes, **options: Any) -> tuple[int, str, str]:
    arguments = {"params": {"as": "live"}, "headers": TAR, **options}
    response = await client.post("/api/v1/models", content=body, **arguments)
    return response.status_code, response.json()["code"], response.json()["error"]


async def test_a_bundle_that_fails_its_checks_is_refused_and_leaves_nothing(
    client: httpx.AsyncClient, bundles: Bundles, registry: Registry, config: Config
) -> None:
    bundle = bundles()
    (bundle.path / "guards.npz").unlink()
    incomplete = archive_of(bundle.path)
    stranger = archive_of(bundles(key=SigningKey.create()).path)
    hostile = archive(entry("../outside"))

    assert await refused(client, incomplete) == (422, "bundle_refused", "guards.npz is missing")
    assert await refused(client, stranger) == (
        422,
        "bundle_refused",
        "not signed by a trusted key",
    )
    assert (await refused(client, hostile))[:2] == (422, "bundle_refused")
    assert (await refused(client, b"not a tar"))[:2] == (400, "bad_request")
    assert registry.models() == []
    assert staged(config) == []


async def test_no_sentence_shows_where_things_are(
    client: httpx.AsyncClient, bundles: Bundles, tmp_path: Path
) -> None:
    for file in ("model.yaml", "golden.npz", "digests.json", "digests.sig"):
        bundle = bundles()
        (bundle.path / file).write_bytes(b"\x00")
        status, _, sentence = await refused(client, archive_of(bundle.path))
        assert status == 422
        assert str(tmp_path) not in sentence
        assert "staging" not in sentence


async def test_an_upload_over_the_limit_is_stopped(
    client: httpx.AsyncClient, config: Config
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield archive(entry("model.onnx", bytes(2 << 20)))[:512]
        while True:
            sent += 1
            yield bytes(1 << 16)

    for body in (bytes(2 << 20), endless()):
        response = await client.post(
            "/api/v1/models", params={"as": "live"}, content=body, headers=TAR
        )
        assert (response.status_code, response.json()["code"]) == (413, "too_large")
    assert sent == config.server.max_bundle_bytes >> 16
    assert staged(config) == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        {"content-type": "multipart/form-data; boundary=x"},
        TAR | {"content-encoding": "gzip"},
    ],
)
async def test_only_plain_tar_is_taken(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await refused(client, b"", headers=headers))[:2] == (415, "unsupported_media_type")


@pytest.mark.parametrize("params", [{}, {"as": "canary"}, {"as": "live", "trust_code": "perhaps"}])
async def test_a_registration_says_as_what(
    client: httpx.AsyncClient, params: dict[str, str]
) -> None:
    assert (await refused(client, b"", params=params))[:2] == (400, "bad_request")


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"null1", b'{"version": 1}', b'{"version": "../x"}', b'{"wy": "typo"}',
     b'{"why": "' + b"x" * 1001 + b'"}', b"[" * 100_000, b'{"why": "\\ud800"}', b"\xff",
     b'{"version": ' + b"9" * 5000 + b"}"],
)  # fmt: skip
async def test_a_broken_promotion_is_the_callers_fault(
    client: httpx.AsyncClient, bundles: Bundles, body: bytes
) -> None:
    await register(client, bundles())
    response = await client.post(
        "/api/v1/models/toy/promote", content=body, headers={"content-type": "application/json"}
    )
    assert response.status_code in (400, 409)  # 409: read, but there is no shadow
    assert response.json()["code"] in ("bad_request", "conflict")


async def test_a_large_promotion_is_not_read(client: httpx.AsyncClient) -> None:
    body = b'{"why": "' + b"x" * (2 << 20) + b'"}'

    async def stream() -> AsyncIterator[bytes]:
        yield body

    for content in (body, stream()):
        response = await client.post(
            "/api/v1/models/toy/promote",
            content=content,
            headers={"content-type": "application/json"},
        )
        assert (response.status_code, response.json()["code"]) == (413, "too_large")


async def test_refusals_of_the_registry_are_conflicts(
    client: httpx.AsyncClient, bundles: Bundles
) -> None:
    await register(client, bundles())
    for response in (
        await register(client, bundles(value=0.9)),
        await register(client, bundles("2", width=3)),
        await client.post("/api/v1/models/toy/promote"),
        await client.post("/api/v1/models/toy/rollback"),
    ):
        assert (response.status_code, response.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize("path", ["", "/report", "/audit"])
async def test_reading_about_an_unknown_model(stranger: httpx.AsyncClient, path: str) -> None:
    response = await stranger.get(f"/api/v1/models/toy{path}")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_model")


async def test_what_is_there_can_be_read(
    client: httpx.AsyncClient, stranger: httpx.AsyncClient, bundles: Bundles, fleet: HandFleet
) -> None:
    bundle = bundles()
    await register(client, bundle)
    fleet.unready.add("toy")

    assert (await stranger.get("/api/v1/models")).json()["models"] == [
        {
            "name": "toy",
            "revision": 1,
            "live": "1",
            "shadow": None,
            "previous": None,
            "versions": {"1": "live"},
        }
    ]
    model = (await stranger.get("/api/v1/models/toy")).json()
    assert model["table"]["versions"][0]["digest"] == bundle.digest
    assert model["versions"][0]["state"] == "live"
    assert model["versions"][0]["manifest"]["signature"]["inputs"][0]["name"] == "x"
    assert (await stranger.get("/api/v1/models/toy/report")).json()["model"] == "toy"
    status = (await stranger.get("/api/v1/status")).json()
    assert status["expectations"] == {"holds": 1}
    assert status["models"][0]["ready"] is False
    assert status["models"][0]["report"]["model"] == "toy"
    assert status["processes"] == {"recorder": None}


async def test_quarantined_inputs_are_listed_counted_and_lifted(
    client: httpx.AsyncClient, config: Config, bundles: Bundles
) -> None:
    await register(client, bundles())
    deaths = Deaths(config.database_url)
    for writer in ("toy~a", "toy~b"):
        deaths.add("toy", writer, [b"f" * 16], told=True)
    path = "/api/v1/models/toy/quarantine"

    [listed] = (await client.get(path)).json()["quarantine"]
    assert listed["fingerprint"] == (b"f" * 16).hex()
    assert listed["deaths"] == 2
    [toy] = (await client.get("/api/v1/status")).json()["models"]
    assert toy["quarantined"] == 1

    lifted = await client.delete(f"{path}/{listed['fingerprint']}")
    again = await client.delete(f"{path}/{listed['fingerprint']}")

    assert lifted.status_code == 200
    assert again.status_code == 404
    assert (await client.get(path)).json()["quarantine"] == []


@pytest.mark.parametrize("fingerprint", ["0", "g" * 32, "0" * 33, "F" * 32])
async def test_what_is_no_fingerprint_is_refused(
    client: httpx.AsyncClient, bundles: Bundles, fingerprint: str
) -> None:
    await register(client, bundles())

    refused = await client.delete(f"/api/v1/models/toy/quarantine/{fingerprint}")

    assert refused.status_code == 400
    assert set(refused.json()) == {"error", "code", "request_id"}


async def test_the_quarantine_of_a_model_nobody_knows_is_not_found(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/api/v1/models/nobody/quarantine")).status_code == 404
