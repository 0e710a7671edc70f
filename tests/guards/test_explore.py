"""Propensities are exact, draws are reproducible, and doubt means greedy."""

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from scipy.stats import chi2, kstest

from guards.explore.choices import Choices
from guards.explore.distribution import Categorical, InvalidDistributionError
from guards.explore.explorer import Explorer
from guards.explore.gate import REASONS
from guards.explore.policies import (
    EpsilonGreedy,
    FromModel,
    Greedy,
    SingleMixture,
    SinglePart,
    SinglePolicy,
    Softmax,
    SquareCb,
    UniformBucket,
)
from guards.explore.rng import RequestRng
from guards.explore.settings import SingleExplore
from guards.verdict import Rows

SALT = bytes(range(32))
SCORES = np.array([0.1, 0.5, 0.3, 0.1])
GREEDY_OR_SOFT = SingleMixture(
    parts=(
        SinglePart(share=0.7, policy=Softmax(tau=0.5)),
        SinglePart(share=0.3, policy=UniformBucket(share=0.5)),
    )
)
POLICIES: list[SinglePolicy] = [
    EpsilonGreedy(epsilon=0.2),
    Softmax(tau=0.3),
    SquareCb(gamma=20),
    UniformBucket(share=0.1),
    GREEDY_OR_SOFT,
]


def by_kind(policy: Any) -> str:
    return str(policy.kind)


def epsilon(share: float, **fields: Any) -> SingleExplore:
    return SingleExplore(policy=EpsilonGreedy(epsilon=share), **fields)


ON = epsilon(0.2)


def decide(
    scores: Rows, settings: SingleExplore = ON, *, salt: bytes = SALT, prefix: str = "", **more: Any
) -> Choices:
    keys = [f"{prefix}{row}" for row in range(len(scores))]
    return Explorer(settings, salt).decide(scores, keys, **more)


def g_statistic(counts: np.ndarray, p: np.ndarray) -> float:
    seen = counts > 0
    return float(2 * np.sum(counts[seen] * np.log(counts[seen] / (counts.sum() * p[seen]))))


@pytest.mark.parametrize(
    ("settings", "p"),
    [
        (ON, [0.05, 0.85, 0.05, 0.05]),
        (epsilon(1.0), [0.25] * 4),
        (epsilon(0.2, floor=0.1), [0.1, 0.7, 0.1, 0.1]),
        (epsilon(0.3, excluded=(1,)), [0.1, 0.0, 0.8, 0.1]),
        (epsilon(0.4, max_regret=0.3), [0.0, 0.8, 0.2, 0.0]),
    ],
)
def test_actions_are_served_as_often_as_their_propensity_says(
    settings: SingleExplore, p: list[float]
) -> None:
    n = 100_000
    choices = decide(np.tile(SCORES, (n, 1)), settings)
    served, propensity = choices.served[:, 0], choices.propensity[:, 0]
    counts = np.bincount(served, minlength=4)
    possible = np.array(p) > 0

    np.testing.assert_allclose(propensity, np.array(p)[served], rtol=1e-12)
    assert counts[~possible].sum() == 0
    g = g_statistic(counts[possible], np.array(p)[possible])
    assert chi2.sf(g, possible.sum() - 1) > 1e-4
    # The mean of 1/p over what was served estimates the number of actions without bias.
    weights = 1 / propensity
    assert weights.mean() == pytest.approx(possible.sum(), abs=4 * weights.std() / np.sqrt(n))


@pytest.mark.parametrize("policy", POLICIES, ids=by_kind)
def test_every_policy_serves_each_action_as_often_as_it_tells(policy: SinglePolicy) -> None:
    n = 100_000
    choices = decide(np.tile(SCORES, (n, 1)), SingleExplore(policy=policy))
    p = choices.first[0]
    counts = np.bincount(choices.served[:, 0], minlength=4)

    np.testing.assert_allclose(choices.first, np.tile(p, (n, 1)))
    np.testing.assert_array_equal(choices.propensity[:, 0], p[choices.served[:, 0]])
    assert chi2.sf(g_statistic(counts, p), 3) > 1e-4
    z = (counts - n * p) / np.sqrt(n * p * (1 - p))
    assert np.abs(z).max() < 4
    weights = 1 / choices.propensity[:, 0]
    assert weights.mean() == pytest.approx(4, abs=4 * weights.std() / np.sqrt(n))


def test_the_greedy_action_has_what_epsilon_leaves_and_its_share_of_epsilon() -> None:
    choices = decide(np.tile(SCORES, (2000, 1)))

    assert set(choices.greedy.ravel().tolist()) == {1}
    assert np.unique(choices.propensity[~choices.explored]) == pytest.approx([1 - 0.2 + 0.2 / 4])
    assert np.unique(choices.propensity[choices.explored]) == pytest.approx([0.2 / 4])


policies = st.one_of(
    st.builds(Greedy),
    st.builds(EpsilonGreedy, epsilon=st.floats(0, 1)),
    st.builds(Softmax, tau=st.floats(1e-9, 1e9)),
    st.builds(SquareCb, gamma=st.floats(0, 1e9)),
    st.builds(UniformBucket, share=st.floats(0, 1)),
    st.just(GREEDY_OR_SOFT),
)


@given(
    scores=hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 5), st.integers(1, 9)),
        elements=st.one_of(st.floats(width=64), st.sampled_from([0.0, 1.0, 1e300, -1e300])),
    ),
    policy=policies,
    floor=st.sampled_from([0.0, 0.001, 0.05, 0.2, 0.5]),
    excluded=st.frozensets(st.integers(-2, 9)),
    limit=st.one_of(st.none(), st.floats(1e-6, 1e6)),
    cut=st.one_of(st.none(), st.floats(0, 1e6)),
)
@settings(max_examples=300, deadline=None)
def test_whatever_the_scores_every_row_gets_an_action_and_a_true_propensity(
    scores: Rows,
    policy: SinglePolicy,
    floor: float,
    excluded: frozenset[int],
    limit: float | None,
    cut: float | None,
) -> None:
    settings = SingleExplore(
        policy=policy,
        floor=floor,
        force_floor=True,
        excluded=tuple(excluded),
        max_expected_regret=limit,
        max_regret=cut,
    )
    choices = decide(scores, settings)
    allowed = [action for action in range(scores.shape[1]) if action not in excluded]

    assert ((choices.propensity > 0) & (choices.propensity <= 1 + 1e-12)).all()
    np.testing.assert_allclose(choices.first.sum(axis=1), 1, atol=1e-12)
    for row, why in enumerate(choices.reasons):
        p = choices.first[row]
        assert not allowed or choices.served[row, 0] in allowed
        assert (np.delete(p, allowed) == 0).all() or not allowed
        if why is not None:
            assert why in REASONS
            assert choices.served[row] == choices.greedy[row]
            assert choices.propensity[row] == p[choices.greedy[row, 0]] == 1
            continue
        assert choices.propensity[row, 0] == p[choices.served[row, 0]]
        gaps = scores[row, choices.greedy[row, 0]] - scores[row, allowed]
        near = [at for at, gap in zip(allowed, gaps, strict=True) if cut is None or gap <= cut]
        if policy.kind != "greedy":
            assert (p[near] >= floor * (1 - 1e-9)).all()
        if limit is not None:
            assert float(p[allowed] @ gaps) <= limit * (1 + 1e-6)


@given(actions=st.integers(2, 5000), seed=st.integers(0, 9), policy=policies)
@settings(max_examples=40, deadline=None)
def test_probabilities_of_many_actions_sum_to_one(
    actions: int, seed: int, policy: SinglePolicy
) -> None:
    scores = np.random.default_rng(seed).normal(size=(2, actions)).round(1)
    settings = SingleExplore(policy=policy, floor=0.5 / actions, force_floor=True, excluded=(0,))
    choices = decide(scores, settings)

    np.testing.assert_allclose(choices.first.sum(axis=1), 1, atol=1e-12)
    assert (choices.first[:, 0] == 0).all()


@pytest.mark.parametrize(
    ("sharp", "flat"),
    [
        (EpsilonGreedy(epsilon=0), EpsilonGreedy(epsilon=1)),
        (Softmax(tau=1e-6), Softmax(tau=1e9)),
        (SquareCb(gamma=1e15), SquareCb(gamma=0)),
        (UniformBucket(share=0), UniformBucket(share=1)),
    ],
    ids=by_kind,
)
def test_the_limits_of_every_policy_are_greedy_and_uniform(
    sharp: SinglePolicy, flat: SinglePolicy
) -> None:
    free = {"floor": 0.0, "force_floor": True}
    greedy = decide(SCORES[None], SingleExplore(policy=sharp, **free))
    uniform = decide(SCORES[None], SingleExplore(policy=flat, **free))

    np.testing.assert_allclose(greedy.first, [[0, 1, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(uniform.first, [[0.25] * 4], atol=1e-8)


def test_squarecb_counts_the_actions_that_are_there() -> None:
    """Ten equal actions, seven of them masked: what `vw --squarecb --elim` gets wrong."""
    scores = np.array([[1.0] + [0.5] * 9])
    settings = SingleExplore(policy=SquareCb(gamma=10), excluded=tuple(range(3, 10)))
    p = decide(scores, settings).first[0]

    assert p == pytest.approx([1 - 2 / 8, 1 / 8, 1 / 8, *[0.0] * 7])


@pytest.mark.parametrize("policy", POLICIES, ids=by_kind)
def test_expected_regret_is_capped_for_every_row(policy: SinglePolicy) -> None:
    scores = np.random.default_rng(3).gumbel(size=(400, 6))
    settings = SingleExplore(policy=policy, max_expected_regret=0.05)
    choices = decide(scores, settings)
    gaps = scores.max(axis=1, keepdims=True) - scores
    open_ = np.array([why is None for why in choices.reasons])

    assert open_.mean() > 0.9
    realised = (choices.first * gaps).sum(axis=1)
    np.testing.assert_allclose(choices.expected_regret[open_], realised[open_], rtol=1e-9)
    assert (realised[open_] <= 0.05 * (1 + 1e-9)).all()
    if policy.kind == "softmax":  # sharpened, not mixed: every action keeps its order
        order = np.argsort(scores, axis=1)
        ranked = np.take_along_axis(choices.first, order, axis=1)
        assert (np.diff(ranked[open_], axis=1) >= -1e-15).all()


def test_a_floor_that_costs_more_than_the_cap_is_not_paid() -> None:
    settings = epsilon(0.2, floor=0.1, max_expected_regret=0.01)
    choices = decide(np.array([[10.0, 0.0, 0.0]]), settings)

    assert choices.reasons == ("regret",)


def test_what_is_charged_is_the_expected_regret_and_a_refusal_closes_the_row() -> None:
    scores = np.tile(SCORES, (4, 1))
    charged: list[tuple[int, float]] = []

    def charge(row: int, regret: float) -> str | None:
        charged.append((row, regret))
        return "budget" if row % 2 else None

    choices = decide(scores, closed=[None, None, "guard", None], charge=charge)

    assert [row for row, _ in charged] == [0, 1, 3]
    assert [regret for _, regret in charged] == pytest.approx([0.2 * (0.4 + 0.2 + 0.4) / 4] * 3)
    assert choices.reasons == (None, "budget", "guard", "budget")


def test_a_model_may_bring_a_distribution_of_its_own() -> None:
    p = np.array([[0.7, 0.1, 0.1, 0.1]], np.float32)
    settings = SingleExplore(policy=FromModel(output="p"))
    counts = np.zeros(4)
    for at in range(4000):
        choices = decide(SCORES[None], settings, given=p, prefix=f"{at}/")
        counts[choices.served[0, 0]] += 1

    np.testing.assert_allclose(choices.first[0], [0.7, 0.1, 0.1, 0.1], atol=1e-7)
    assert choices.first[0].sum() == pytest.approx(1, abs=1e-15)
    assert chi2.sf(g_statistic(counts, choices.first[0]), 3) > 1e-4


@pytest.mark.parametrize(
    "p",
    [
        [-8.0, 1, 1, 1, 1, 1, 1, 1, 1, 1],  # vw 9.11.9 --squarecb --elim
        [0.2] * 10,
        [np.nan] + [0.1] * 9,
        [0.0] * 10,
        [0.5, 0.5] + [0.0] * 8,  # the first is masked
    ],
)
def test_a_distribution_that_is_none_means_greedy(p: list[float]) -> None:
    settings = SingleExplore(policy=FromModel(output="p"), excluded=(0,))
    choices = decide(np.arange(10.0)[None], settings, given=np.array([p]))

    assert choices.reasons == ("invalid_distribution",)
    assert choices.served.tolist() == [[9]]


@pytest.mark.parametrize(
    "fields",
    [
        {"floor": 0.0001},
        {"floor": 0.0},
        {"mode": "apprentice"},
        {"unit_cap": 3},
        {"policy": {"kind": "mixture", "parts": []}},
        {
            "policy": {
                "kind": "mixture",
                "parts": [{"share": 0.5, "policy": {"kind": "greedy"}}] * 3,
            }
        },
        {"policy": {"kind": "softmax", "tau": 0}},
        {"epsilon": 0.1},
    ],
)
def test_settings_that_promise_too_much_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SingleExplore.model_validate(fields)


@pytest.mark.parametrize("mode", ["shadow", "apprentice"])
def test_what_is_only_proposed_is_not_served(mode: str) -> None:
    scores = np.tile(SCORES, (500, 1))
    settings = epsilon(0.5, mode=mode, baseline="shown")
    live = decide(scores, epsilon(0.5))
    choices = decide(scores, settings, baseline=np.full(500, 3))

    np.testing.assert_array_equal(choices.proposed, live.proposed)
    np.testing.assert_array_equal(choices.conditional, live.conditional)
    assert set(choices.served.ravel().tolist()) == ({1} if mode == "shadow" else {3})
    assert (choices.propensity == 1).all()
    assert not choices.explored.any()


def test_a_repeated_request_is_the_same_decision() -> None:
    scores = np.tile(SCORES, (500, 1))
    first, again = decide(scores), decide(scores)

    np.testing.assert_array_equal(first.served, again.served)
    np.testing.assert_array_equal(first.propensity, again.propensity)


def test_a_decision_does_not_depend_on_its_batch_mates() -> None:
    scores = np.random.default_rng(0).normal(size=(300, 5))
    together = decide(scores)
    explorer = Explorer(ON, SALT)
    order = np.random.default_rng(1).permutation(300)

    shuffled = explorer.decide(scores[order], [str(row) for row in order])
    alone = [explorer.decide(scores[row : row + 1], [str(row)]) for row in range(300)]

    np.testing.assert_array_equal(shuffled.served, together.served[order])
    np.testing.assert_array_equal([choice.served[0] for choice in alone], together.served)
    np.testing.assert_array_equal([choice.propensity[0] for choice in alone], together.propensity)


def test_the_draw_follows_the_action_not_its_place_in_the_list() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(6), size=400)
    items = np.arange(6, dtype=np.uint64)
    order = np.array([3, 0, 5, 1, 4, 2])
    rng = RequestRng(SALT, purpose="test")
    keys = [str(row) for row in range(400)]

    listed = Categorical(p).draw(rng.uniforms(keys, items))
    relisted = Categorical(p[:, order]).draw(rng.uniforms(keys, items[order]))

    np.testing.assert_array_equal(order[relisted], listed)


def test_the_draws_of_this_version_never_change() -> None:
    """A log can be replayed only as long as the same key draws the same number."""
    uniforms = RequestRng(SALT, purpose="test").uniforms(
        ["a", "b", "request-1/0"], np.arange(4, dtype=np.uint64)
    )

    assert hashlib.sha256(uniforms.tobytes()).hexdigest() == (
        "6ba1b31ad67f7df2c973fdc70b0b03022ca251be67750421beeab516f5e419b2"
    )


@pytest.mark.parametrize("other", ["salt", "key", "purpose"])
def test_another_salt_key_or_purpose_draws_unrelated_numbers(other: str) -> None:
    keys = [str(row) for row in range(20_000)]
    item = np.zeros(1, np.uint64)
    here = RequestRng(SALT, purpose="a").uniforms(keys, item)[:, 0]
    there = {
        "salt": lambda: RequestRng(SALT[::-1], purpose="a").uniforms(keys, item),
        "key": lambda: RequestRng(SALT, purpose="a").uniforms([k + "x" for k in keys], item),
        "purpose": lambda: RequestRng(SALT, purpose="b").uniforms(keys, item),
    }[other]()[:, 0]

    assert abs(np.corrcoef(here, there)[0, 1]) < 4 / np.sqrt(len(keys))


def test_sequential_keys_and_items_draw_uniform_independent_numbers() -> None:
    rng = RequestRng(SALT, purpose="test")
    uniforms = rng.uniforms([str(row) for row in range(5000)], np.arange(8, dtype=np.uint64))

    assert ((uniforms > 0) & (uniforms <= 1)).all()
    assert kstest(uniforms.ravel(), "uniform").pvalue > 1e-3
    correlations = np.asarray(np.corrcoef(uniforms.T))[np.triu_indices(8, 1)]
    assert np.abs(correlations).max() < 4.5 / np.sqrt(5000)


def test_a_salt_too_short_to_be_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes, got 4"):
        Explorer(ON, b"salt")


@pytest.mark.parametrize(
    ("row", "settings", "closed", "reason"),
    [
        ([0.1, 0.9], epsilon(0.2, mode="off"), None, "off"),
        ([0.1, 0.9], ON, "kill_switch", "kill_switch"),
        ([0.1, np.nan], ON, None, "not_finite"),
        ([0.1, np.inf], ON, None, "not_finite"),
        ([np.nan, np.nan], ON, None, "not_finite"),
        ([0.5, 0.5], ON, None, "all_equal"),
        ([0.5], ON, None, "too_few"),
        ([0.1, 0.9], epsilon(0.2, excluded=(0,)), None, "too_few"),
        ([0.1, 0.5, 0.4], epsilon(0.2, floor=0.4), None, "floor"),
        ([0.1, 0.5], SingleExplore(policy=FromModel(output="p")), None, "invalid_distribution"),
    ],
)
def test_doubt_means_greedy_with_propensity_one_and_a_reason(
    row: list[float], settings: SingleExplore, closed: str | None, reason: str
) -> None:
    n = 200
    keys = [str(at) for at in range(n)]
    choices = Explorer(settings, SALT).decide(np.tile(row, (n, 1)), keys, closed=[closed] * n)

    assert set(choices.reasons) == {reason}
    np.testing.assert_array_equal(choices.served, choices.greedy)
    np.testing.assert_array_equal(choices.propensity, 1)
    assert not choices.explored.any()


def test_a_closed_row_leaves_its_batch_mates_open() -> None:
    scores = np.tile(SCORES, (400, 1))
    scores[::2, 0] = np.nan
    choices = decide(scores)

    assert not choices.explored[::2].any()
    assert choices.explored[1::2].any()
    np.testing.assert_array_equal(
        choices.served[1::2], decide(np.tile(SCORES, (400, 1))).served[1::2]
    )


def test_the_gate_is_decided_before_the_draw() -> None:
    """Only the salt changes: nothing but the draw may follow."""
    scores = np.random.default_rng(0).normal(size=(300, 4))
    scores[7] = np.nan
    here, there = decide(scores), decide(scores, salt=SALT[::-1])

    assert here.reasons == there.reasons
    np.testing.assert_array_equal(here.greedy, there.greedy)
    assert (here.served != there.served).any()


def test_equal_scores_go_to_the_first_as_in_the_models_own_argmax() -> None:
    scores = np.array([[0.1, 0.4, 0.4, 0.1]])

    assert decide(scores).greedy.tolist() == [[int(scores[0].argmax())]]


def test_without_epsilon_and_floor_every_row_is_greedy_for_certain() -> None:
    choices = decide(np.tile(SCORES, (300, 1)), epsilon(0, floor=0.0, force_floor=True))

    assert not choices.explored.any()
    np.testing.assert_array_equal(choices.propensity, 1)


def test_no_rows_make_no_choices() -> None:
    choices = decide(np.empty((0, 3)))

    assert choices.served.shape == choices.propensity.shape == (0, 1)
    assert choices.reasons == ()


def test_one_key_per_row_is_asked_for() -> None:
    with pytest.raises(ValueError, match="2 rows, 4 actions, 1 keys"):
        Explorer(ON, SALT).decide(np.tile(SCORES, (2, 1)), ["only"])


@pytest.mark.parametrize("p", [[0.5, 0.6], [1.5, -0.5], [np.nan, 1.0]])
def test_what_is_no_distribution_is_refused(p: list[float]) -> None:
    with pytest.raises(InvalidDistributionError, match="sum to 1"):
        Categorical(np.array([p]))
