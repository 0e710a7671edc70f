"""What another policy would have earned, from records and feedback as they are kept."""

from collections.abc import Sequence

import numpy as np
import pytest
from estimators.bandits import ips as vw_ips
from estimators.bandits import snips as vw_snips
from msgspec.structs import replace
from sqlalchemy import Engine

from gateway.evaluate import tables
from gateway.evaluate.choice_log import ChoiceLog, read_log, window_of
from gateway.evaluate.estimates import Estimates, estimate
from gateway.evaluate.logged_data import logged_singles
from gateway.evaluate.targets import likely
from gateway.record.decision import Decision
from guards.explore.target import UnknownTargetError
from tests.gateway.evaluate.choices import (
    ACTIONS,
    actions,
    approvals,
    choose_actions,
    choose_approvals,
    manifest_of,
    rank_items,
    rewards_of,
    shown_of,
    slate,
    store_at,
)

APPEAL = np.linspace(0.1, 0.7, ACTIONS)  # chance of a reward by action
MANIFESTS = {
    "single": manifest_of(actions(), width=ACTIONS),
    "slate": manifest_of(slate(), inputs=("item", "in_stock")),
    "threshold": manifest_of(approvals()),
}
LATER_NS = 2**62


def _keep(url: str, requests: Sequence[Decision], *, seed: int = 1) -> None:
    """Reward what was served, by its action's appeal, and keep it."""
    rng = np.random.default_rng(seed)
    drawn = [request.exploration.served for request in requests if request.exploration]
    rewards = [
        [float(rng.uniform() < APPEAL[place % ACTIONS]) for place in served] for served in drawn
    ]
    store_at(url).add("mlp", rewards_of(requests, rewards))


def _log(engine: Engine, requests: Sequence[Decision], *, now_ns: int = LATER_NS) -> ChoiceLog:
    window = window_of(MANIFESTS["single"].feedback)
    return read_log(engine, "mlp", requests, window=window, now_ns=now_ns)


def _estimate(engine: Engine, log: ChoiceLog, target: str, kind: str = "single") -> Estimates:
    return estimate(engine, MANIFESTS[kind], log, target, alpha=0.05)


def _line(found: Estimates, estimator: str) -> dict[str, float]:
    return next(line for line in found.estimates if line["estimator"] == estimator)


def test_what_uniform_serving_earns_is_known_from_a_log_of_softmax(
    engine: Engine, database_url: str
) -> None:
    requests = choose_actions(2000)
    _keep(database_url, requests)

    found = _estimate(engine, _log(engine, requests), "uniform")

    assert (found.decisions, found.left_out) == (2000, {})
    for estimator in ("snips", "dr"):
        line = _line(found, estimator)
        assert line["low"] < APPEAL.mean() < line["high"]
        assert line["may_decide"]
    assert found.diagnostics is not None
    assert found.diagnostics["effective_rows"] > 100
    assert abs(found.diagnostics["martingale_z"]) < 4


def test_ips_and_snips_are_those_of_vw_estimators(engine: Engine, database_url: str) -> None:
    requests = choose_actions(500)
    _keep(database_url, requests)
    log = _log(engine, requests)
    data = logged_singles(log.choices, likely(log.choices, "softmax:tau=1"))
    first, second = vw_ips.Estimator(), vw_snips.Estimator()
    for p, reward, target in zip(data.propensities, data.rewards, data.target, strict=True):
        first.add_example(p, reward, target)
        second.add_example(p, reward, target)

    found = _estimate(engine, log, "softmax:tau=1")

    assert _line(found, "ips")["value"] == pytest.approx(first.get(), rel=1e-9)
    assert _line(found, "snips")["value"] == pytest.approx(second.get(), rel=1e-9)


def test_a_ranking_and_an_approval_can_be_asked_about_too(
    engine: Engine, database_url: str
) -> None:
    rankings, decided = (
        rank_items(600, slate(policy={"kind": "plackett_luce", "tau": 0.2})),
        choose_approvals(600),
    )
    _keep(database_url, rankings)
    ranked = _estimate(engine, _log(engine, rankings), "greedy", "slate")
    assert {line["estimator"] for line in ranked.estimates} >= {"slate_snips", "reward_interaction"}
    assert ranked.verdict in ("earns more", "earns less", "undecided")

    _keep(database_url, decided)
    approved = _estimate(engine, _log(engine, decided), "threshold:threshold=0.25", "threshold")
    assert approved.decisions == 600


def test_the_logging_policy_asked_about_itself_earns_what_was_earned(
    engine: Engine, database_url: str
) -> None:
    requests = choose_actions(300)
    _keep(database_url, requests)

    found = _estimate(engine, _log(engine, requests), "softmax:tau=0.5")

    assert found.earned is not None
    assert _line(found, "ips")["value"] == pytest.approx(found.earned["value"], rel=1e-9)
    assert found.difference == pytest.approx(0, abs=0.01)


def test_no_verdict_where_few_rows_carry_all_weight(engine: Engine, database_url: str) -> None:
    requests = choose_actions(200, actions(policy={"kind": "softmax", "tau": 0.05}))
    _keep(database_url, requests)

    found = _estimate(engine, _log(engine, requests), "uniform")

    assert found.verdict == "refused"
    assert "effective sample size" in " ".join(found.reasons)


def test_no_verdict_where_what_was_drawn_is_replaced(engine: Engine, database_url: str) -> None:
    requests = choose_actions(600)
    _keep(database_url, requests)
    other = [
        shown_of(request, served=[(request.exploration.served[0] + 1) % ACTIONS])
        for request in requests[:30]
        if request.exploration
    ]
    store_at(database_url).add("mlp", other)

    found = _estimate(engine, _log(engine, requests), "uniform")

    assert (found.verdict, found.decisions, found.left_out) == ("refused", 570, {"overridden": 30})
    assert "overridden" in " ".join(found.reasons)


@pytest.mark.parametrize("mode", ["shadow", "off"])
def test_what_was_not_drawn_is_no_evidence(engine: Engine, mode: str) -> None:
    found = _estimate(engine, _log(engine, choose_actions(50, actions(mode=mode))), "uniform")

    assert (found.verdict, found.decisions) == ("refused", 0)
    assert found.left_out == {f"mode {mode}": 50}


def test_feedback_that_changed_nothing_is_counted_beside_the_estimate(
    engine: Engine, database_url: str
) -> None:
    requests = choose_actions(50)
    [early, late, *_] = rewards_of(requests, [[1.0]] * 50)
    store_at(database_url).add("mlp", [early, replace(early, slot=7)])
    store_at(database_url).add("mlp", [replace(early, reward=0.5, idempotency_key="other")])
    store_at(database_url, after_s=10**6).add("mlp", [late])

    found = _estimate(engine, _log(engine, requests), "uniform")

    assert found.unused_feedback == {"late": 1, "orphans": 1, "contradicting": 1}


def test_a_window_that_is_open_is_no_evidence_yet(engine: Engine) -> None:
    requests = choose_actions(50)
    soon = requests[-1].arrived_ns + 1

    found = _estimate(engine, _log(engine, requests, now_ns=soon), "uniform")

    assert found.left_out == {"window still open": 50}


def test_another_version_is_asked_through_its_answers_as_a_shadow(
    engine: Engine, database_url: str
) -> None:
    requests = choose_actions(1600, actions(policy={"kind": "epsilon_greedy", "epsilon": 0.6}))
    _keep(database_url, requests)
    best = ACTIONS - 1  # the shadow always answers with the most appealing action
    answered = requests[::2]
    with engine.begin() as connection:
        for request in answered:
            row = {"model": "mlp", "version": "2", "prediction_id": request.prediction_id}
            row |= {"row": 0, "predicted": float(best)}
            connection.execute(tables.shadow_predictions.insert(), row)

    found = _estimate(engine, _log(engine, requests), "version:2")

    line = _line(found, "dr")
    assert found.decisions == len(answered)
    assert found.left_out == {"without an answer of the shadow": 800}
    assert line["low"] < APPEAL[best] < line["high"]
    assert found.verdict == "earns more"


def test_a_target_of_no_sense_is_refused_with_a_reason(engine: Engine) -> None:
    with pytest.raises(UnknownTargetError, match="greedy, uniform, version:N"):
        _estimate(engine, _log(engine, choose_actions(3)), "sofmax:tau=1")


def test_a_version_is_no_target_where_its_shadow_keeps_no_scores(engine: Engine) -> None:
    plain = MANIFESTS["slate"]
    outputs = [plain.signature.outputs[0].model_copy(update={"role": "probabilities"})]
    signature = plain.signature.model_copy(update={"outputs": tuple(outputs)})
    manifest = plain.model_copy(update={"signature": signature})

    with pytest.raises(UnknownTargetError, match="classes"):
        estimate(engine, manifest, _log(engine, rank_items(3)), "version:2", alpha=0.05)
