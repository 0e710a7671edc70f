"""What leaves for training: every decision with its propensity, in files that others read."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import vowpalwabbit
from msgspec.structs import replace
from sqlalchemy import Engine

from gateway.evaluate.choice_log import ChoiceLog, read_log, window_of
from gateway.evaluate.estimates import estimate
from gateway.evaluate.export import SCHEMA, write_export
from gateway.evaluate.loop_counts import count_choices
from gateway.record.decision import Decision, Exploration
from models.feedback_spec import FeedbackSpec
from tests.gateway.evaluate.choices import (
    ACTIONS,
    ITEMS,
    actions,
    choose_actions,
    choose_approvals,
    manifest_of,
    rank_items,
    rewards_of,
    shown_of,
    slate,
    store_at,
)


def _log(engine: Engine, requests: Sequence[Decision], *, now_ns: int = 2**62) -> ChoiceLog:
    window = window_of(FeedbackSpec())
    return read_log(engine, "mlp", requests, window=window, now_ns=now_ns)


def _rewarded(url: str, requests: Sequence[Decision], *, slots: int = 1) -> None:
    rng = np.random.default_rng(2)
    rewards = (rng.uniform(size=(len(requests), slots)) < 0.4).astype(float).tolist()
    store_at(url).add("mlp", rewards_of(requests, rewards))


def _lines(content: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in content.splitlines()]


@pytest.mark.parametrize("make", [choose_actions, choose_approvals, rank_items])
def test_parquet_holds_every_decision_with_weight_and_rewards(
    engine: Engine, database_url: str, make: Callable[[int], list[Decision]]
) -> None:
    requests = make(30)
    slots = len(requests[0].exploration.served)
    _rewarded(database_url, requests, slots=slots)
    log = _log(engine, requests)

    table = pq.read_table(io.BytesIO(write_export(log, "parquet")))

    assert table.schema.equals(SCHEMA)
    assert table["prediction_id"].to_pylist() == [r.prediction_id for r in requests]
    for row, choice in zip(table.to_pylist(), log.choices, strict=True):
        assert row["weight"] == pytest.approx(1 / choice.propensities.prod())
        assert row["propensities"] == choice.propensities.tolist()
        assert row["rewards"] == list(choice.joined.rewards)
        assert set(row["served"]) <= set(row["candidates"])
        assert row["unbiased"]


def test_decisions_that_are_open_or_were_overridden_are_not_taken_for_unbiased(
    engine: Engine, database_url: str
) -> None:
    requests = choose_actions(10)
    served = requests[0].exploration.served[0]  # type: ignore[union-attr]  # they all have one
    store_at(database_url).add("mlp", [shown_of(requests[0], served=[(served + 1) % ACTIONS])])

    [first, *rest] = pq.read_table(
        io.BytesIO(write_export(_log(engine, requests), "parquet"))
    ).to_pylist()
    open_now = _log(engine, requests, now_ns=requests[0].arrived_ns)

    assert (first["overridden"], first["unbiased"]) == (True, False)
    assert all(row["unbiased"] for row in rest)
    assert len(_lines(write_export(_log(engine, requests), "dsjson"))) == 9
    assert write_export(open_now, "dsjson") == b""


def test_dsjson_has_what_was_chosen_first_and_probabilities_that_sum_to_one(
    engine: Engine, database_url: str
) -> None:
    requests = choose_actions(40)
    _rewarded(database_url, requests)

    for line in _lines(write_export(_log(engine, requests), "dsjson")):
        a, p = line["a"], line["p"]
        assert a[0] == line["_label_Action"] == line["_labelIndex"] + 1
        assert p[0] == line["_label_probability"]
        assert sum(p) == pytest.approx(1, abs=1e-12)
        assert len(a) == len(p) == len(line["c"]["_multi"]) == ACTIONS
        assert sorted(a) == list(range(1, ACTIONS + 1))


def _vw(options: str, log: Path) -> float:
    """Have VW read a log without learning; its progressive loss."""
    workspace = vowpalwabbit.Workspace(f"--dsjson -d {log} {options} -l 0 --quiet")
    loss = float(workspace.get_sum_loss())
    workspace.finish()
    return loss


def test_vowpal_wabbit_reads_single_choices_and_gives_our_ips_of_uniform(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    requests = choose_actions(400)
    _rewarded(database_url, requests)
    log = _log(engine, requests)
    path = tmp_path / "log.dsjson"
    path.write_bytes(write_export(log, "dsjson"))

    # epsilon 1 and nothing learned: the loss is that of the uniform policy by IPS.
    loss = _vw("--cb_explore_adf --epsilon 1 --cb_type ips", path)
    manifest = manifest_of(actions(), width=ACTIONS)
    found = estimate(engine, manifest, log, "uniform", alpha=0.05)

    ours = next(line["value"] for line in found.estimates if line["estimator"] == "ips")
    assert -loss / len(requests) == pytest.approx(ours, abs=1e-6)


def test_vowpal_wabbit_reads_rankings_slot_by_slot(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    requests = rank_items(100)
    _rewarded(database_url, requests, slots=3)
    path = tmp_path / "log.dsjson"
    content = write_export(_log(engine, requests), "dsjson")
    path.write_bytes(content)

    workspace = vowpalwabbit.Workspace("--dsjson --ccb_explore_adf --epsilon 0.1 --quiet")
    for line, text in zip(_lines(content), content.decode().splitlines(), strict=True):
        examples = workspace.parse(text, vowpalwabbit.LabelType.CONDITIONAL_CONTEXTUAL_BANDIT)
        assert len(examples) == 1 + (ITEMS - 1) + 3  # shared, what is in stock, slots
        outcomes = [
            example.get_label(vowpalwabbit.LabelType.CONDITIONAL_CONTEXTUAL_BANDIT).outcome
            for example in examples[-3:]
        ]
        told = [
            (o["_a"][0], pytest.approx(o["_p"][0]), o["_label_cost"]) for o in line["_outcomes"]
        ]
        assert [
            (o.action_probs[0].action, o.action_probs[0].score, o.cost) for o in outcomes
        ] == told
        workspace.finish_example(examples)
    workspace.finish()
    assert np.isfinite(_vw("--ccb_explore_adf --epsilon 1", path))


def test_candidates_with_names_are_confirmed_counted_and_exported_by_them(
    engine: Engine, database_url: str
) -> None:
    names = ["Äpfel", "b", "c", "d", "e", "f", "g", "h"]
    requests = rank_items(20, slate(ids="name"), names=names)
    store_at(database_url).add("mlp", [shown_of(request) for request in requests])
    log = _log(engine, requests)

    table = pq.read_table(io.BytesIO(write_export(log, "parquet"))).to_pylist()
    counts = count_choices(log.choices)

    assert not any(choice.joined.is_overridden for choice in log.choices)
    assert all(row["candidates"] == names and row["shown"] == row["served"] for row in table)
    assert (counts.confirmed, counts.overridden) == (20, 0)
    assert len(counts.exposure.items) == ITEMS - 1
    assert counts.exposure.impressions.sum() == 60


def test_records_of_before_choices_were_described_are_left_out(engine: Engine) -> None:
    [request] = choose_actions(1)
    old = Exploration("epsilon_greedy", (0,), (1,), (0.1,), ("",))

    assert _log(engine, [replace(request, exploration=old)]).choices == ()
