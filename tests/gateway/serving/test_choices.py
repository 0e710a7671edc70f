"""Rankings, approvals and lists of actions through the whole request path of a replica."""

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest

from gateway.record.decision import Decision
from gateway.record.replay import is_reproduced, replay, served_ids
from gateway.serving import questions
from gateway.serving.spending import Spending
from guards.explore.policies import PlackettLuce
from guards.explore.settings import Budget, SingleExplore, ThresholdExplore
from models.bundle import Bundle
from tests.rankings import WEIGHTS, ask, candidates, greedy_of, slate, tensor

SALT = b"the salt of the tests"  # as `serve` has it
RNG = np.random.default_rng(1)
Build = Callable[..., Bundle]


def exploration(served: Any, at: int = -1) -> Any:
    return served.kept.decisions[at].exploration


@pytest.mark.parametrize("datatype", ["INT64", "BYTES"])
async def test_a_slate_is_served_told_recorded_and_replayed(
    serve: Any, build: Build, datatype: str
) -> None:
    served = await serve(build(slate(), datatypes={"item": datatype}))
    explored = 0
    for at in range(60):
        inputs = candidates(RNG, 4 + at % 20, types={"item": datatype})
        inputs["in_stock"][at % 4] = False
        answer = await ask(served, inputs, f"r{at}")
        record: Decision = served.kept.decisions[-1]
        drawn = record.exploration
        assert drawn is not None
        np.testing.assert_allclose(
            answer["score"][:, 0], inputs["features"] @ WEIGHTS, atol=1e-6
        )  # the model's own output is untouched
        ids = [one.decode() if isinstance(one, bytes) else int(one) for one in served_ids(drawn)[0]]
        assert answer["handrail.served"].tolist() == [ids]
        masked = inputs["item"][at % 4]
        assert (masked.decode() if isinstance(masked, bytes) else masked) not in ids
        np.testing.assert_array_equal(answer["handrail.propensity"][0], drawn.propensity)
        assert answer["parameters"]["explored"] == (ids != greedy_of(inputs))
        explored += ids != greedy_of(inputs)
        assert "explore_closed" not in answer["parameters"]
        assert (drawn.kind, drawn.policy, drawn.mode, drawn.slots) == (
            "slate",
            "plackett_luce",
            "on",
            min(3, len(inputs["item"]) - 1),
        )
        assert is_reproduced(record, SALT)
        assert float(np.sum(np.log(drawn.propensity))) == pytest.approx(drawn.log_p[0])
        assert sum(drawn.p_first) == pytest.approx(1)
    assert explored > 10


async def test_a_retry_is_the_same_slate_on_any_replica(serve: Any, build: Build) -> None:
    first, second = await serve(build(slate())), await serve(build(slate()))
    for at in range(20):
        inputs = candidates(RNG, 12)
        one, two = await ask(first, inputs, f"s{at}"), await ask(second, inputs, f"s{at}")
        assert one["handrail.served"].tolist() == two["handrail.served"].tolist()
        assert first.kept.decisions[-1].exploration == second.kept.decisions[-1].exploration


async def test_a_stock_client_that_tries_again_under_its_own_id_gets_the_same_slate(
    serve: Any, build: Build
) -> None:
    served = await serve(build(slate()))
    inputs = candidates(RNG, 12)
    slates = []
    for at in range(12):
        body = {"id": f"order {at // 2}", "inputs": [tensor(*one) for one in inputs.items()]}
        if at % 2:  # the retry has less time, and no header names it
            body["parameters"] = {"timeout": 90_000}
        answer = (await served.client.post("/infer", content=orjson.dumps(body))).json()
        slates.append(next(one["data"] for one in answer["outputs"] if "served" in one["name"]))
        assert is_reproduced(served.kept.decisions[-1], SALT)

    assert slates[::2] == slates[1::2]
    assert len({tuple(one) for one in slates}) > 2
    assert len({record.prediction_id for record in served.kept.decisions}) == 12


async def test_a_list_too_long_for_its_record_is_not_explored(
    serve: Any, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "CELLS_MAX", 10)
    served = await serve(build(slate()))

    assert (await ask(served, candidates(RNG, 10), "a"))["parameters"].get("explore_closed") is None
    answer = await ask(served, candidates(RNG, 11), "b")
    assert answer["parameters"]["explore_closed"] == "too_large"


async def test_an_answer_of_the_ladder_is_ranked_greedily(serve: Any, build: Build) -> None:
    outputs = {"score": [0.5]}
    bundle = build(slate(), fallback=[{"use": "constant", "outputs": outputs}])
    served = await serve(bundle)
    inputs = candidates(RNG, 6)
    body = {"inputs": [tensor(*one) for one in inputs.items()], "parameters": {"timeout": 1}}
    answer = (await served.client.post("/infer", content=orjson.dumps(body))).json()

    assert answer["parameters"]["served_by"] == "fallback:constant"
    assert answer["parameters"]["explore_closed"] == "fallback"
    [ids] = [one["data"] for one in answer["outputs"] if one["name"] == "handrail.served"]
    assert len(set(ids)) == 3
    assert exploration(served).closed == ("fallback",)


async def test_a_sticky_unit_meets_the_same_numbers_until_its_epoch_ends(
    serve: Any, build: Build
) -> None:
    served = await serve(build(slate(unit={"parameter": "user", "epoch_s": 1e9})))
    inputs = candidates(RNG, 12)
    slates = {}
    for user in range(30):
        answers = [await ask(served, inputs, f"{user}-{i}", user=f"user {user}") for i in range(3)]
        shown = {tuple(answer["handrail.served"][0].tolist()) for answer in answers}
        assert len(shown) == 1
        slates[user] = shown.pop()
    record = served.kept.decisions[-1]

    assert len(set(slates.values())) > 3
    assert len(record.exploration.units[0]) == 16
    assert b"user 29" not in orjson.dumps(record.exploration.units)
    assert is_reproduced(record, SALT)
    nobody = await ask(served, inputs, "nobody")
    assert nobody["parameters"]["explore_closed"] == "no_unit"


async def test_a_unit_is_explored_as_often_as_its_cap_allows(serve: Any, build: Build) -> None:
    explore = slate(unit={"input": "user", "epoch_s": 1e9}, unit_cap=2)
    served = await serve(build(explore, context=("item", "in_stock", "user")))
    inputs = candidates(RNG, 8, ("item", "in_stock", "user"))
    told = [(await ask(served, inputs, str(at)))["parameters"] for at in range(4)]

    assert [one.get("explore_closed") for one in told] == [None, None, "unit_cap", "unit_cap"]


@pytest.mark.parametrize(
    ("mode", "shown"), [("shadow", "greedy"), ("apprentice", "baseline"), ("off", "greedy")]
)
async def test_what_is_only_proposed_is_recorded_and_not_served(
    serve: Any, build: Build, mode: str, shown: str
) -> None:
    names = ("item", "in_stock", "shown")
    served = await serve(build(slate(mode=mode, baseline="shown"), context=names))
    inputs = candidates(RNG, 8, names)
    inputs["shown"][[5, 2, 7]] = 1, 2, 3
    answer = await ask(served, inputs, "r")
    record = served.kept.decisions[-1]

    wanted = greedy_of(inputs) if shown == "greedy" else [105, 102, 107]
    assert answer["handrail.served"].tolist() == [wanted]
    assert answer["handrail.propensity"].tolist() == [[1.0] * 3]
    assert answer["parameters"]["explored"] is False
    assert record.exploration.mode == mode
    assert bool(record.exploration.proposed) == (mode != "off")
    assert is_reproduced(record, SALT)


async def test_a_cold_start_slot_draws_from_the_pool(serve: Any, build: Build) -> None:
    explore = slate(
        policy={"kind": "greedy"}, cold_start={"slot": 3, "share": 0.5, "weights": "quota"}
    )
    names = ("item", "in_stock", "quota")
    served = await serve(build(explore, context=names))
    inputs = candidates(RNG, 30, names)
    fired = 0
    for at in range(60):
        answer = await ask(served, inputs, str(at))
        fired += answer["parameters"]["explored"]
        assert is_reproduced(served.kept.decisions[-1], SALT)
    assert 12 < fired < 48


async def test_one_action_of_a_list(serve: Any, build: Build) -> None:
    explore = SingleExplore(ids="item", eligible="in_stock", excluded=(101,))
    served = await serve(build(explore))
    inputs = candidates(RNG, 6)
    answer = await ask(served, inputs, "r")

    assert answer["handrail.served"].shape == answer["handrail.propensity"].shape == (1,)
    assert answer["handrail.served"][0] != 101
    assert is_reproduced(served.kept.decisions[-1], SALT)
    inputs["item"][2] = inputs["item"][3]
    again = await ask(served, inputs, "q")
    assert again["parameters"]["explore_closed"] == "duplicate_ids"


async def test_approvals(serve: Any, build: Build) -> None:
    explore = ThresholdExplore.model_validate(
        {
            "threshold": 0.0,
            "hard_stop": 5.0,
            "shape": {"kind": "uniform_reject", "epsilon": 0.5},
            "exposure": "quota",
            "max_exposure": 1.0,
        }
    )
    served = await serve(build(explore, context=("quota",)))
    inputs = candidates(RNG, 200, ("quota",))
    answer = await ask(served, inputs, "r")
    scores, approved = answer["score"][:, 0], answer["handrail.choice"]
    record = served.kept.decisions[-1]

    assert (approved[scores < 0] == 1).all()
    may = (scores >= 0) & (inputs["quota"] <= 1)
    assert 0.2 < approved[may].mean() < 0.8
    assert (approved[(scores >= 0) & (inputs["quota"] > 1)] == 0).all()
    np.testing.assert_allclose(answer["handrail.propensity"][may], 0.5)
    assert set(record.exploration.closed) == {"", "exposure"}
    assert is_reproduced(record, SALT)


def test_a_budget_is_never_overspent_in_any_window() -> None:
    now = 0.0
    spending = Spending(Budget(regret=10, window_s=100), None, replicas=2, now_s=lambda: now)
    paid: list[tuple[float, float]] = []
    rng = np.random.default_rng(0)
    for _ in range(5000):
        now += float(rng.exponential(0.3 if rng.random() < 0.9 else 20))
        regret = float(rng.uniform(0, 0.4))
        if spending.charge("", 0, regret) is None:
            paid.append((now, regret))
    times, costs = np.array(paid).T
    for start in times[::10]:
        inside = (times >= start) & (times < start + 100)
        assert costs[inside].sum() <= 5 + 1e-9
    assert costs.sum() > 0.3 * 5 * now / 100  # long pauses save up no more than a burst


def test_a_replica_that_starts_often_spends_no_more() -> None:
    assert Spending(Budget(regret=10), None, replicas=1).charge("", 0, 0.1) == "budget"


async def test_the_budget_closes_what_it_cannot_pay_for(serve: Any, build: Build) -> None:
    served = await serve(build(slate(budget={"regret": 1e-9})))
    told = [(await ask(served, candidates(RNG, 8), str(at)))["parameters"] for at in range(5)]

    assert [one["explore_closed"] for one in told] == ["budget"] * 5


async def test_the_draw_alone_depends_on_the_salt(serve: Any, build: Build) -> None:
    served = await serve(build(slate()))
    await ask(served, candidates(RNG, 10), "r")
    record = served.kept.decisions[-1]
    again = replay(record, SALT)

    assert isinstance(build(slate()).manifest.explore.policy, PlackettLuce)  # type: ignore[union-attr]
    assert tuple(again.first[0].tolist()) == record.exploration.p_first
    with pytest.raises(Exception, match="belongs to salt"):
        replay(record, b"another salt than that")
