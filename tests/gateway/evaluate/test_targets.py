"""What other policies would have done is read from the objects that draw."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from sqlalchemy import Engine

from gateway.evaluate import tables
from gateway.evaluate.choice_log import LoggedChoice, read_log, window_of
from gateway.evaluate.targets import likely, shadow_scores
from gateway.record.decision import Decision
from guards.explore.target import UnknownTargetError
from models.feedback_spec import FeedbackSpec
from tests.gateway.evaluate.choices import (
    ACTIONS,
    ITEMS,
    actions,
    choose_actions,
    choose_approvals,
    rank_items,
    slate,
)


def _log(engine: Engine, requests: list[Decision]) -> tuple[LoggedChoice, ...]:
    window = window_of(FeedbackSpec())
    return read_log(engine, "mlp", requests, window=window, now_ns=2**62).choices


@pytest.mark.parametrize(
    "make",
    [
        lambda: choose_actions(40),
        lambda: choose_actions(40, actions(policy={"kind": "epsilon_greedy"}, max_regret=0.5)),
        lambda: choose_actions(40, actions(policy={"kind": "uniform_bucket", "share": 0.3})),
        lambda: choose_approvals(40),
        lambda: rank_items(40),
        lambda: rank_items(40, slate(policy={"kind": "epsilon_greedy", "epsilon": 0.3})),
        lambda: rank_items(40, slate(pinned={2: 103}, max_expected_regret=0.2)),
        lambda: rank_items(40, slate(slots=8)),
        lambda: rank_items(
            40,
            slate(
                policy={
                    "kind": "mixture",
                    "parts": [
                        {"share": 0.9, "policy": {"kind": "plackett_luce", "tau": 0.2}},
                        {"share": 0.1, "policy": {"kind": "uniform_bucket", "share": 1.0}},
                    ],
                }
            ),
        ),
    ],
)
def test_the_logging_policy_as_target_has_the_logged_propensities(
    engine: Engine, make: Callable[..., list[Decision]]
) -> None:
    choices = _log(engine, make())

    for choice, found in zip(choices, likely(choices), strict=True):
        np.testing.assert_allclose(found.slots, choice.propensities, rtol=1e-12)
        assert found.greedy == pytest.approx(choice.drawn.p_greedy[choice.at], rel=1e-12)
    assert any((choice.propensities < 1).any() for choice in choices)


@pytest.mark.parametrize("make", [choose_actions, choose_approvals, rank_items])
def test_greedy_does_what_the_record_calls_greedy_and_nothing_else(
    engine: Engine, make: Callable[..., list[Decision]]
) -> None:
    choices = _log(engine, make(60))

    for choice, found in zip(choices, likely(choices, "greedy"), strict=True):
        assert found.greedy == 1.0
        assert found.slots.prod() == (not choice.is_explored)


def test_uniform_gives_everything_that_may_be_served_the_same_chance(engine: Engine) -> None:
    [single] = likely(_log(engine, choose_actions(1)), "uniform")
    [ranking] = likely(_log(engine, rank_items(1)), "uniform")

    assert single.actions == pytest.approx(np.full(ACTIONS, 1 / ACTIONS))
    in_stock = ITEMS - 1
    np.testing.assert_allclose(
        ranking.slots, [1 / in_stock, 1 / (in_stock - 1), 1 / (in_stock - 2)]
    )


def test_a_row_that_a_guard_closed_is_closed_to_every_policy_but_not_one_out_of_budget(
    engine: Engine,
) -> None:
    [request] = choose_actions(1)
    was = request.exploration
    assert was is not None

    def closed(why: str) -> tuple[LoggedChoice, ...]:
        drawn = msgspec.structs.replace(was, closed=(why,), served=was.greedy, propensity=(1.0,))
        return _log(engine, [msgspec.structs.replace(request, exploration=drawn)])

    [guarded] = likely(closed("guard"), "uniform")
    [unpaid] = likely(closed("budget"), "uniform")

    assert (guarded.slots[0], unpaid.slots[0]) == (1.0, 0.25)


@pytest.mark.parametrize(
    "target", ["best", "softmax", "softmax:tau=0", "softmax:tau", "threshold:threshold=1", ""]
)
def test_what_is_no_policy_for_the_choice_is_refused(engine: Engine, target: str) -> None:
    choices = _log(engine, rank_items(1))
    if target:
        with pytest.raises(UnknownTargetError):
            likely(choices, target)


def test_another_threshold_is_a_target_of_approvals(engine: Engine) -> None:
    choices = _log(engine, choose_approvals(200))
    scores = [np.frombuffer(choice.drawn.scores, "<f4")[0] for choice in choices]

    for score, found in zip(scores, likely(choices, "threshold:threshold=0.5"), strict=True):
        assert found.actions is not None
        assert found.actions[1] == (score < 0.5)


def test_the_scores_of_a_shadow_rank_the_same_candidates_anew(engine: Engine) -> None:
    choices = _log(engine, rank_items(300))
    random = np.random.default_rng(3)
    answered = random.normal(size=(len(choices), ITEMS))
    rows = [
        {"model": "mlp", "version": "2", "prediction_id": choice.request.prediction_id}
        | {"row": row, "predicted": float(score)}
        for choice, scores in zip(choices, answered, strict=True)
        for row, score in enumerate(scores)
    ]
    with engine.begin() as connection:
        connection.execute(tables.shadow_predictions.insert(), rows)

    scores = shadow_scores(engine, "mlp", "2", choices)
    found = likely(choices, "greedy", scores=scores)

    assert list(scores) == list(range(len(choices)))
    agreed = 0
    for choice, new, one in zip(choices, answered, found, strict=True):
        best = np.argsort(-new[: ITEMS - 1])[:3]  # the last item is sold out
        assert one.slots.prod() == (choice.served == best).all()
        agreed += int(one.slots.prod())
    assert 0 < agreed < len(choices)
