"""Estimates and exports over HTTP."""

import io
import json
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from gateway.config import Config
from gateway.evaluate.asked import AskedLog
from gateway.record.evidence import Evidence
from gateway.registry.database import open_database
from gateway.registry.keys import local_signing_key
from gateway.registry.registry import Registry
from tests.gateway.evaluate.choices import rank_items, rewards_of, slate, store_at
from tests.gateway.evaluate.decisions import ARRIVED_NS
from tests.rankings import build_ranking

DECISIONS = 150


@pytest.fixture
def feed(registry: Registry, config: Config, tmp_path: Path) -> str:
    """A ranking model with decisions in the evidence, the first slot of each rewarded."""
    bundle = build_ranking(tmp_path, local_signing_key(config.keys_dir), slate())
    registry.register(bundle, as_="live", trust_code=False, who="test")
    decided = [replace(one, model="feed") for one in rank_items(DECISIONS)]
    Evidence(config.evidence_url, clock_ns=lambda: ARRIVED_NS + 10**9).append(decided, through={})
    store_at(config.database_url).add("feed", rewards_of(decided, [[1, 0, 0]] * DECISIONS))
    return "feed"


async def test_an_estimate_says_what_was_earned_and_why_there_is_no_verdict(
    client: httpx.AsyncClient, feed: str
) -> None:
    answer = await client.get(f"/api/v1/models/{feed}/estimate", params={"target": "uniform"})

    assert answer.status_code == 200
    told = answer.json()
    assert (told["decisions"], told["earned"]["value"]) == (DECISIONS, 1.0)
    assert told["verdict"] == "refused"
    assert told["reasons"]
    assert {line["estimator"] for line in told["estimates"]} >= {"slate_ips", "slate_snips"}


async def test_an_export_is_a_file_of_every_decision(client: httpx.AsyncClient, feed: str) -> None:
    parquet = await client.get(f"/api/v1/models/{feed}/export")
    dsjson = await client.get(f"/api/v1/models/{feed}/export", params={"format": "dsjson"})

    assert pq.read_table(io.BytesIO(parquet.content)).num_rows == DECISIONS
    lines = [json.loads(line) for line in dsjson.content.splitlines()]
    assert len(lines) == DECISIONS
    read = json.loads(parquet.headers["Handrail-Read"])
    assert (read["requests"], read["is_cut"]) == (DECISIONS, False)
    assert [outcome["_label_cost"] for outcome in lines[0]["_outcomes"]] == [-1.0, 0.0, 0.0]


async def test_only_what_was_recorded_in_the_time_asked_about_counts(
    client: httpx.AsyncClient, feed: str
) -> None:
    asked = {"target": "greedy", "until": ARRIVED_NS / 1e9}
    told = (await client.get(f"/api/v1/models/{feed}/estimate", params=asked)).json()

    assert (told["decisions"], told["verdict"]) == (0, "refused")


async def test_an_answer_says_which_part_of_the_log_it_read(
    registry: Registry, config: Config, feed: str
) -> None:
    evidence = Evidence(config.evidence_url, clock_ns=lambda: ARRIVED_NS + 2 * 10**9)
    later = [
        replace(one, model="feed", prediction_id=f"l{i}") for i, one in enumerate(rank_items(50))
    ]
    evidence.append(later, through={})
    engine = open_database(config.database_url)

    def asked(most: int) -> AskedLog:
        return AskedLog(engine, registry, evidence, alpha=0.05, max_requests=most)

    whole = asked(1000).estimate(feed, "greedy")
    newest = asked(120).estimate(feed, "greedy")
    _, before = asked(120).export(feed, "dsjson", until_s=newest["read"]["oldest"])

    oldest_s = (ARRIVED_NS + 10**9) / 1e9
    assert whole["read"] == {"requests": DECISIONS + 50, "oldest": oldest_s, "is_cut": False}
    # Seventy of the earlier commit were read too, and left out: a commit is read whole or not.
    assert newest["read"] == {"requests": 50, "oldest": oldest_s + 1, "is_cut": True}
    assert before.is_cut


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("feed/estimate?target=sofmax:tau=1", 400, "greedy, uniform"),
        ("feed/estimate?target=softmax:tau", 400, "name=value"),
        ("feed/estimate", 400, "target"),
        ("feed/export?format=csv", 400, "parquet, dsjson"),
        ("nobody/estimate?target=greedy", 404, "nobody"),
        ("feed/estimate?target=version:7", 404, "7"),
        ("nobody/export", 404, "nobody"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_a_sentence(
    client: httpx.AsyncClient, feed: str, path: str, status: int, says: str
) -> None:
    answer = await client.get(f"/api/v1/models/{path}")

    assert answer.status_code == status
    assert says in answer.json()["error"]
