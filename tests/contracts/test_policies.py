"""What every policy of a manifest must satisfy, whatever kind of choice it randomises."""

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pydantic import TypeAdapter
from scipy.stats import chi2

from guards.explore.choices import NOBODY, Choices
from guards.explore.decider import Decider, Question
from guards.explore.decider import Settings as Choice
from guards.explore.gate import REASONS
from guards.explore.policies import Shape, SinglePolicy, SlatePolicy
from guards.explore.rng import item_hashes

SALT = bytes(range(32))
DRAWS = 2000
UNIFORM = {"kind": "uniform_bucket", "share": 0.3}
SINGLE: dict[str, dict[str, Any]] = {
    "greedy": {},
    "epsilon_greedy": {"epsilon": 0.3},
    "softmax": {"tau": 0.5},
    "squarecb": {"gamma": 5},
    "uniform_bucket": {"share": 0.3},
    "model": {"output": "p"},
    "mixture": {
        "parts": [
            {"share": 0.6, "policy": {"kind": "softmax", "tau": 0.4}},
            {"share": 0.4, "policy": UNIFORM},
        ]
    },
}
SLATE: dict[str, dict[str, Any]] = {
    "greedy": {},
    "epsilon_greedy": {"epsilon": 0.3},
    "plackett_luce": {"tau": 0.5},
    "uniform_bucket": {"share": 0.3},
    "mixture": {
        "parts": [
            {"share": 0.6, "policy": {"kind": "plackett_luce", "tau": 0.4}},
            {"share": 0.4, "policy": UNIFORM},
        ]
    },
}
SHAPES: dict[str, dict[str, Any]] = {
    "uniform_reject": {"epsilon": 0.3},
    "boundary": {"epsilon": 0.5, "width": 2.0},
    "cost_aware": {"scale": 0.5, "cost": "cost"},
}
DECORATED: dict[str, dict[str, Any]] = {
    "swap_pairs": {"policy": {"kind": "greedy"}, "swap_pairs": {}},
    "cold_start": {
        "policy": {"kind": "epsilon_greedy"},
        "cold_start": {"slot": 2, "share": 0.5, "weights": "quota"},
    },
    "pinned": {"policy": {"kind": "plackett_luce", "tau": 0.5}, "pinned": {2: 103}},
    "excluded": {"policy": {"kind": "plackett_luce", "tau": 0.5}, "excluded": [101]},
    "floor": {"policy": {"kind": "plackett_luce", "tau": 0.2}, "floor": 0.05},
    "capped": {"policy": {"kind": "plackett_luce", "tau": 1}, "max_expected_regret": 0.1},
}
adapter: TypeAdapter[Choice] = TypeAdapter(Choice)


def made(**fields: Any) -> Choice:
    return adapter.validate_python(fields)


def single(policy: dict[str, Any], **fields: Any) -> Choice:
    return made(kind="single", ids="id", policy=policy, **fields)


def slate(**fields: Any) -> Choice:
    return made(kind="slate", ids="id", slots=3, **fields)


EVERY = (
    {f"single {kind}": single({"kind": kind, **more}) for kind, more in SINGLE.items()}
    | {"single excluded": single({"kind": "softmax", "tau": 0.5}, excluded=(102,))}
    | {"single capped": single({"kind": "softmax", "tau": 2}, max_expected_regret=0.2)}
    | {f"slate {kind}": slate(policy={"kind": kind, **more}) for kind, more in SLATE.items()}
    | {f"slate {name}": slate(**more) for name, more in DECORATED.items()}
    | {
        f"approve {kind}": made(
            kind="threshold", threshold=0.3, hard_stop=2.0, shape={"kind": kind, **more}
        )
        for kind, more in SHAPES.items()
    }
)
every = pytest.mark.parametrize("name", EVERY)


def kinds_of(union: Any) -> set[str]:
    return {kind.model_fields["kind"].default for kind in get_args(get_args(union)[0])}


def test_every_policy_there_is_stands_here() -> None:
    assert kinds_of(SinglePolicy) == set(SINGLE)
    assert kinds_of(SlatePolicy) == set(SLATE)
    assert kinds_of(Shape) == set(SHAPES)


def question_of(
    name: str, scores: NDArray[np.float64], eligible: NDArray[np.bool_] | None = None
) -> Question:
    """Ask about ids from 100 on; quota, own distributions and costs are made up from them."""
    if name.startswith("approve"):
        return Question(scores[:, :1], extra=np.full((len(scores), 1), 2.0))
    n = scores.shape[1]
    ids = np.tile(np.arange(100, 100 + n), (len(scores), 1))
    extra = None
    if name == "single model":
        weights = np.where(True if eligible is None else eligible, ids % 5 + 1.0, 0.0)
        extra = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1)
    elif name == "slate cold_start":
        extra = ids % 3.0
    return Question(scores, item_hashes(ids.ravel()).reshape(ids.shape), eligible, extra)


def decide(choice: Choice, question: Question, *, start: int = 0) -> Choices:
    keys = [f"key/{start + at}" for at in range(len(question.scores))]
    return Decider(choice, SALT, domain="d").decide(question, keys, closed=[None] * len(keys))


def scores_of(n: int, *, seed: int = 0, candidates: int = 6) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(n, candidates))


@every
@settings(max_examples=60, deadline=None)
@given(
    scores=hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=7),
        elements=st.one_of(st.floats(-3, 3), st.floats(), st.sampled_from([0.0, 1e300, -1e300])),
    ),
    data=st.data(),
)
def test_whatever_comes_something_eligible_is_served_with_a_probability(
    name: str, scores: NDArray[np.float64], data: st.DataObject
) -> None:
    choice = EVERY[name]
    eligible = data.draw(hnp.arrays(np.bool_, scores.shape))
    question = question_of(name, scores, eligible)
    usable = Decider(choice, SALT, domain="d").usable(question)
    if not name.startswith("approve") and not usable.any(axis=1).all():
        return  # there is nothing to serve, which is for the caller to refuse
    choices = decide(choice, question)

    p = choices.propensity
    assert ((p > 0) & (p <= 1 + 1e-12)).all()
    np.testing.assert_allclose(choices.first.sum(axis=1), 1, atol=1e-12)
    assert (choices.first >= 0).all()
    assert set(choices.reasons) <= REASONS | {None}
    for row, why in enumerate(choices.reasons):
        served = [place for place in choices.served[row].tolist() if place != NOBODY]
        assert served
        assert len(set(served)) == len(served)
        if not name.startswith("approve"):
            assert usable[row, served].all()
        if why is not None:
            assert (choices.served[row] == choices.greedy[row]).all()
            assert (p[row] == 1).all()
        elif not name.startswith("approve"):
            assert np.isfinite(scores[row]).all()


@every
def test_what_is_served_comes_as_often_as_it_is_told(name: str) -> None:
    """G-test of the first slot; and no more than all of the probability is given away."""
    question = question_of(name, np.tile(scores_of(1), (DRAWS, 1)))
    choices = decide(EVERY[name], question)
    assert set(choices.reasons) == {None}
    p = choices.first[0]
    assert (choices.first == p).all()
    counts = np.bincount(choices.served[:, 0], minlength=len(p))
    assert counts[p == 0].sum() == 0
    observed = counts > 0
    expected = DRAWS * p[observed]
    g = 2 * float((counts[observed] * np.log(counts[observed] / expected)).sum())
    assert chi2.sf(g, max(int((p > 0).sum()) - 1, 1)) > 1e-4

    told = np.exp(choices.log_p)
    slates = {tuple(slots): one for slots, one in zip(choices.served.tolist(), told, strict=True)}
    assert sum(slates.values()) <= 1 + 1e-9


@every
def test_its_settings_in_a_record_make_the_same_decisions(name: str) -> None:
    question = question_of(name, scores_of(40))
    again = adapter.validate_json(EVERY[name].model_dump_json())

    first, second = decide(EVERY[name], question), decide(again, question)

    assert first.served.tolist() == second.served.tolist()
    assert first.conditional.tolist() == second.conditional.tolist()


@every
def test_batch_mates_change_nothing(name: str) -> None:
    question = question_of(name, scores_of(20))
    together = decide(EVERY[name], question)
    for at in range(20):
        alone = decide(EVERY[name], question.rows(at, at + 1), start=at)
        assert alone.served.tolist() == together.served[at : at + 1].tolist()
        assert alone.conditional.tolist() == together.conditional[at : at + 1].tolist()


@pytest.mark.parametrize("name", [name for name in EVERY if not name.startswith("approve")])
def test_the_order_of_candidates_changes_nothing(name: str) -> None:
    question = question_of(name, scores_of(20))
    order = np.random.default_rng(3).permutation(6)
    assert question.hashes is not None
    turned = Question(
        question.scores[:, order],
        question.hashes[:, order],
        extra=None if question.extra is None else question.extra[:, order],
    )
    first, second = decide(EVERY[name], question), decide(EVERY[name], turned)

    assert first.served.tolist() == order[second.served].tolist()
    np.testing.assert_allclose(first.conditional, second.conditional, rtol=1e-12)
