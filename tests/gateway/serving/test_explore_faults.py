"""Whatever fails or is in doubt: the greedy answer, with the reason, and never an error more."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.serving.chooser import Chooser
from gateway.serving.questions import Asked, Reader
from gateway.serving.spending import Spending
from guards.explore import explorer, threshold_explorer
from guards.explore.distribution import Arms
from guards.explore.policies import EpsilonGreedy
from guards.explore.rng import RequestRng
from guards.explore.settings import Explored, NoExplore, SingleExplore, ThresholdExplore
from guards.explore.slate_explorer import SlateExplorer
from models.bundle import Bundle
from tests.rankings import ACTIONS, ask, candidates, slate

SALT = b"the salt of the tests"
RNG = np.random.default_rng(11)
Build = Callable[..., Bundle]
LIMITS: dict[str, Any] = {"unit": {"parameter": "user"}, "budget": {"regret": 1e9}}
CONTEXT = ("item", "in_stock")
HALF = EpsilonGreedy(epsilon=0.5)
KINDS: dict[str, tuple[Explored, dict[str, Any]]] = {
    "slate": (slate(**LIMITS), {}),
    "listed": (
        SingleExplore.model_validate(
            {"ids": "item", "eligible": "in_stock", "policy": HALF, **LIMITS}
        ),
        {},
    ),
    "columns": (
        SingleExplore.model_validate({"policy": HALF, **LIMITS}),
        {"context": (), "weights": ACTIONS},
    ),
    "approvals": (
        ThresholdExplore.model_validate(
            {"threshold": 0.0, "hard_stop": 9.0, "shape": {"kind": "uniform_reject"}, **LIMITS}
        ),
        {"context": ()},
    ),
}
ANY = tuple(KINDS)
FAULTS: list[tuple[str, tuple[str, ...], object, str]] = [
    ("the salt", ("slate",), RequestRng, "scrambled"),
    ("the salt", ("listed", "columns", "approvals"), RequestRng, "uniforms"),
    ("what was spent", ANY, Spending, "charge"),
    ("the clock", ANY, Chooser, "_epoch"),
    ("the unit", ANY, Chooser, "_units"),
    ("a gate", ANY, Reader, "_gates"),
    ("the policy", ("slate",), SlateExplorer, "_distribution"),
    ("the policy", ("listed", "columns"), explorer, "arms_of"),
    ("the policy", ("approvals",), threshold_explorer, "approval"),
    ("the draw", ("slate",), SlateExplorer, "_draw"),
    ("the draw", ("listed", "columns", "approvals"), Arms, "draw"),
]
CASES = [
    pytest.param(kind, owner, name, id=f"{kind}: {what}")
    for what, kinds, owner, name in FAULTS
    for kind in kinds
]


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("injected")


def inputs_of(kind: str) -> dict[str, NDArray[Any]]:
    return candidates(RNG, 8, KINDS[kind][1].get("context", CONTEXT))


@pytest.mark.parametrize(("kind", "owner", "name"), CASES)
async def test_a_fault_serves_what_would_be_served_without_exploring(
    serve: Any,
    build: Build,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    owner: object,
    name: str,
) -> None:
    explore, more = KINDS[kind]
    off = await serve(build(explore.model_copy(update={"mode": "off"}), **more))
    served = await serve(build(explore, **more))
    everybody = [inputs_of(kind) for _ in range(5)]
    plain = [await ask(off, inputs, str(at), user="u") for at, inputs in enumerate(everybody)]
    monkeypatch.setattr(owner, name, broken)

    for at, (inputs, wanted) in enumerate(zip(everybody, plain, strict=True)):
        answer = await ask(served, inputs, str(at), user="u")

        assert answer["status"] == 200
        assert answer["outputs"] == wanted["outputs"]  # to the byte
        assert answer["parameters"]["explore_closed"] == "error"
        assert answer["parameters"]["explored"] is False
        assert set(served.kept.decisions[-1].exploration.closed) == {"error"}


@pytest.mark.parametrize("kind", ANY)
async def test_the_models_own_outputs_are_those_of_a_model_that_is_no_choice(
    serve: Any, build: Build, kind: str
) -> None:
    explore, more = KINDS[kind]
    plain, served = await serve(build(NoExplore(), **more)), await serve(build(explore, **more))
    explored = 0
    for at in range(20):
        inputs = inputs_of(kind)
        answer = await ask(served, inputs, str(at), user=str(at))
        explored += answer["parameters"]["explored"]
        outputs = [one for one in answer["outputs"] if not one["name"].startswith("handrail.")]
        assert outputs == (await ask(plain, inputs, str(at)))["outputs"]
    assert explored or kind == "approvals"


async def test_a_fault_of_one_request_costs_its_batch_mates_nothing(
    serve: Any, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    explore, more = KINDS["columns"]
    served = await serve(build(explore, **more))
    units = Chooser._units
    everybody = [inputs_of("columns") for _ in range(6)]
    alone = [await ask(served, one, f"r{at}", user="u") for at, one in enumerate(everybody)]
    others = [0, 1, 2, 4, 5]

    def fail_for_one(chooser: Chooser, part: Any) -> Any:
        if part.asked.unit == "3":
            raise RuntimeError("injected")
        return units(chooser, part)

    monkeypatch.setattr(Chooser, "_units", fail_for_one)
    together = await asyncio.gather(
        *(
            ask(served, one, f"r{at}", user="3" if at == 3 else "u")
            for at, one in enumerate(everybody)
        )
    )

    assert max(record.batch_rows for record in served.kept.decisions) == 6 * 8
    assert together[3]["parameters"]["explore_closed"] == "error"
    assert [together[at]["outputs"] for at in others] == [alone[at]["outputs"] for at in others]
    assert all("explore_closed" not in together[at]["parameters"] for at in others)


@pytest.mark.parametrize("why", ["kill_switch", "kill_switch_unknown", "journal", "journal_queue"])
@pytest.mark.parametrize("kind", ANY)
async def test_a_gate_of_the_replica_closes_every_decision(
    serve: Any, build: Build, kind: str, why: str
) -> None:
    explore, more = KINDS[kind]
    served = await serve(build(explore, **more), closed=lambda: why)
    answer = await ask(served, inputs_of(kind), "r", user="u")

    assert answer["parameters"]["explore_closed"] == why
    assert (answer["handrail.propensity"] == 1).all()
    assert answer["parameters"]["explored"] is False


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf, 1e308])
@pytest.mark.parametrize("kind", ANY)
def test_a_score_that_is_no_number_is_served_around_and_never_drawn(
    build: Build, kind: str, score: float
) -> None:
    explore, more = KINDS[kind]
    chooser = Chooser(build(explore, **more).manifest, SALT)
    columns = ACTIONS.shape[1] if kind == "columns" else 1
    scores = np.linspace(0.1, 1, 8 * columns).reshape(8, columns)
    scores[2, 0] = score
    part = chooser.part(
        "p" * 32, Asked(unit="u"), inputs_of(kind), {"score": scores}, guarded=None, closed=None
    )
    assert part is not None
    [decided] = chooser.choose([part])
    at = 0 if kind in ("slate", "listed") else 2
    choices = decided.choices

    assert choices.reasons[at] == "not_finite"
    assert choices.propensity[at].tolist() == [1.0] * choices.served.shape[1]
    assert (choices.served[at] == choices.greedy[at]).all()
    assert (choices.served[at] >= 0).all()
    if np.isnan(score):  # nobody prefers what is no number
        assert (2 if at == 0 else kind == "approvals") not in choices.served[at]


@pytest.mark.parametrize("kind", ["slate", "listed"])
async def test_bad_lists_of_candidates(serve: Any, build: Build, kind: str) -> None:
    explore, more = KINDS[kind]
    served = await serve(build(explore, **more))
    twice, none, one, strange, empty = (candidates(RNG, n) for n in (5, 5, 1, 5, 0))
    twice["item"][3] = twice["item"][0]
    none["in_stock"][:] = False
    strange["features"][1] = 1e9  # flagged, if not worse

    async def closed(inputs: dict[str, NDArray[Any]], name: str, **parameters: Any) -> Any:
        answer = await ask(served, inputs, name, user="u", **parameters)
        return answer["parameters"]["explore_closed"]

    assert await closed(twice, "twice") == "duplicate_ids"
    assert await closed(one, "one") == "too_few"
    assert (await ask(served, one, "one"))["handrail.served"].ravel().tolist() == [100]
    assert await closed(strange, "strange") == "guard"
    assert await closed(candidates(RNG, 5), "exempt", explore=False) == "exempt"
    refused = await ask(served, none, "none")
    assert (refused["status"], refused["code"]) == (422, "nothing_to_serve")
    assert served.kept.decisions[-1].exploration is None
    assert (await ask(served, empty, "empty"))["status"] == 400
    assert (await ask(served, candidates(RNG, 5), "bad", explore="no"))["status"] == 400


async def test_one_candidate_left_by_the_mask_is_served_for_certain(
    serve: Any, build: Build
) -> None:
    served = await serve(build(KINDS["slate"][0]))
    inputs = candidates(RNG, 5)
    inputs["in_stock"][:] = False
    inputs["in_stock"][3] = True
    answer = await ask(served, inputs, "r", user="u")

    assert answer["handrail.served"].tolist() == [[103]]
    assert answer["handrail.propensity"].tolist() == [[1.0]]
    assert answer["parameters"]["explore_closed"] == "too_few"


async def test_a_list_whose_candidates_are_all_excluded_has_nothing_to_serve(
    serve: Any, build: Build
) -> None:
    served = await serve(build(slate(excluded=(100, 101))))

    assert (await ask(served, candidates(RNG, 2), "r"))["code"] == "nothing_to_serve"
    assert (await ask(served, candidates(RNG, 3), "q"))["handrail.served"].tolist() == [[102]]
