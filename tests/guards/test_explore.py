"""Propensities are exact, draws are reproducible, and doubt means greedy."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import chi2, kstest

from guards.explore.distribution import Categorical
from guards.explore.explorer import Choices, Explorer
from guards.explore.policy import ExploreSettings, distribution, eligible, greedy
from guards.explore.rng import RequestRng
from guards.verdict import Rows

SALT = bytes(range(32))
ON = ExploreSettings(kind="single", epsilon=0.2)
SCORES = np.array([0.1, 0.5, 0.3, 0.1])


def decide(
    scores: Rows, settings: ExploreSettings = ON, *, salt: bytes = SALT, prefix: str = ""
) -> Choices:
    keys = [f"{prefix}{row}" for row in range(len(scores))]
    return Explorer(settings, salt).decide(scores, keys)


def g_statistic(counts: np.ndarray, p: np.ndarray) -> float:
    seen = counts > 0
    return float(2 * np.sum(counts[seen] * np.log(counts[seen] / (counts.sum() * p[seen]))))


@pytest.mark.parametrize(
    ("settings", "p"),
    [
        (ON, [0.05, 0.85, 0.05, 0.05]),
        (ExploreSettings(kind="single", epsilon=1.0), [0.25] * 4),
        (ExploreSettings(kind="single", epsilon=0.2, floor=0.1), [0.13, 0.61, 0.13, 0.13]),
        (ExploreSettings(kind="single", epsilon=0.3, excluded=(1,)), [0.1, 0.0, 0.8, 0.1]),
    ],
)
def test_actions_are_served_as_often_as_their_propensity_says(
    settings: ExploreSettings, p: list[float]
) -> None:
    n = 100_000
    choices = decide(np.tile(SCORES, (n, 1)), settings)
    counts = np.bincount(choices.served, minlength=4)
    possible = np.array(p) > 0

    np.testing.assert_allclose(choices.propensity, np.array(p)[choices.served], rtol=1e-12)
    assert counts[~possible].sum() == 0
    g = g_statistic(counts[possible], np.array(p)[possible])
    assert chi2.sf(g, possible.sum() - 1) > 1e-4
    # The mean of 1/p over what was served estimates the number of actions without bias.
    weights = 1 / choices.propensity
    assert weights.mean() == pytest.approx(possible.sum(), abs=4 * weights.std() / np.sqrt(n))


def test_the_greedy_action_has_what_epsilon_leaves_and_its_share_of_epsilon() -> None:
    choices = decide(np.tile(SCORES, (2000, 1)))

    assert set(choices.greedy.tolist()) == {1}
    assert np.unique(choices.propensity[~choices.explored]) == pytest.approx([1 - 0.2 + 0.2 / 4])
    assert np.unique(choices.propensity[choices.explored]) == pytest.approx([0.2 / 4])


@given(
    scores=hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 5), st.integers(1, 9)),
        elements=st.floats(width=64),
    ),
    epsilon=st.floats(0, 1),
    floor=st.floats(0, 0.5),
    excluded=st.frozensets(st.integers(-2, 9)),
)
def test_whatever_the_scores_every_row_gets_an_action_and_a_true_propensity(
    scores: Rows, epsilon: float, floor: float, excluded: frozenset[int]
) -> None:
    settings = ExploreSettings(
        kind="single", epsilon=epsilon, floor=floor, excluded=tuple(excluded)
    )
    choices = decide(scores, settings)
    actions = scores.shape[1]
    allowed = [action for action in range(actions) if action not in excluded]

    assert ((choices.propensity > 0) & (choices.propensity <= 1)).all()
    for row, why in enumerate(choices.reasons):
        if allowed:
            assert choices.served[row] in allowed
        if why is not None:
            assert choices.served[row] == choices.greedy[row]
            assert choices.propensity[row] == 1
        else:
            assert choices.propensity[row] >= min(floor, 1 / actions) - 1e-12


@given(
    n=st.integers(1, 6),
    actions=st.integers(2, 2000),
    epsilon=st.floats(0, 1),
    share=st.floats(0, 1),
)
def test_probabilities_sum_to_one_and_respect_the_floor(
    n: int, actions: int, epsilon: float, share: float
) -> None:
    settings = ExploreSettings(kind="single", epsilon=epsilon, floor=share / actions, excluded=(0,))
    allowed = eligible(actions, settings.excluded)
    best = greedy(np.random.default_rng(n).normal(size=(n, actions)), allowed)
    p = distribution(best, allowed, settings).p

    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-12)
    assert (p[:, 0] == 0).all()
    assert (p[:, 1:] >= settings.floor * (1 - 1e-12)).all()


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
        ([0.1, 0.9], ExploreSettings(), None, "exploration is off"),
        ([0.1, 0.9], ON, "killed by an operator", "killed by an operator"),
        ([0.1, np.nan], ON, None, "scores not finite"),
        ([0.1, np.inf], ON, None, "scores not finite"),
        ([np.nan, np.nan], ON, None, "scores not finite"),
        ([0.5, 0.5], ON, None, "scores all equal"),
        ([0.5], ON, None, "fewer than two actions to choose from"),
        (
            [0.1, 0.9],
            ExploreSettings(kind="single", excluded=(0,)),
            None,
            "fewer than two actions to choose from",
        ),
        (
            [0.1, 0.5, 0.4],
            ExploreSettings(kind="single", floor=0.4),
            None,
            "a floor of 0.4 is impossible for 3 actions",
        ),
    ],
)
def test_doubt_means_greedy_with_propensity_one_and_a_reason(
    row: list[float], settings: ExploreSettings, closed: str | None, reason: str
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

    assert decide(scores).greedy.tolist() == [int(scores[0].argmax())]


def test_without_epsilon_and_floor_every_row_is_greedy_for_certain() -> None:
    choices = decide(np.tile(SCORES, (300, 1)), ExploreSettings(kind="single", epsilon=0))

    assert not choices.explored.any()
    np.testing.assert_array_equal(choices.propensity, 1)


def test_no_rows_make_no_choices() -> None:
    choices = decide(np.empty((0, 3)))

    assert choices.served.shape == choices.propensity.shape == (0,)
    assert choices.reasons == ()


def test_one_key_per_row_is_asked_for() -> None:
    with pytest.raises(ValueError, match="2 rows, 4 actions, 1 keys"):
        Explorer(ON, SALT).decide(np.tile(SCORES, (2, 1)), ["only"])


@pytest.mark.parametrize("p", [[0.5, 0.6], [1.5, -0.5], [np.nan, 1.0]])
def test_what_is_no_distribution_is_refused(p: list[float]) -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        Categorical(np.array([p]))
