"""Slates: what is told of a draw is what its distribution says, whatever made it."""

import tracemalloc
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import chi2

from guards.explore.policies import (
    EpsilonGreedy,
    Greedy,
    PlackettLuce,
    SlateMixture,
    SlatePart,
    SlatePolicy,
    UniformBucket,
)
from guards.explore.rng import item_hashes
from guards.explore.settings import ColdStart, SlateExplore, SwapPairs
from guards.explore.slate import NoMarginalsError, log_prob
from guards.explore.slate_explorer import Candidates, SlateExplorer

SALT = bytes(range(32))
DEFAULT = SlateMixture(
    parts=(
        SlatePart(share=0.9, policy=PlackettLuce(tau=0.5)),
        SlatePart(share=0.1, policy=UniformBucket(share=1.0)),
    )
)
COLD = ColdStart(slot=2, share=0.3, weights="quota")
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {"policy": Greedy()},
    "epsilon": {"policy": EpsilonGreedy(epsilon=0.3)},
    "plackett_luce": {"policy": PlackettLuce(tau=0.5)},
    "bucket": {"policy": UniformBucket(share=0.2)},
    "mixture": {"policy": DEFAULT},
    "floor": {"policy": PlackettLuce(tau=0.2), "floor": 0.05},
    "cold": {"policy": EpsilonGreedy(epsilon=0.2), "cold_start": COLD},
    "cold_floor": {"policy": PlackettLuce(tau=0.5), "cold_start": COLD, "floor": 0.05},
    "fair_pairs": {"policy": Greedy(), "swap_pairs": SwapPairs()},
    "first_pair": {
        "policy": Greedy(),
        "swap_pairs": SwapPairs(scheme="first_pair", share=0.6),
    },
    "pinned": {"policy": EpsilonGreedy(epsilon=0.4), "pinned": {2: 103}},
    "cut": {"policy": PlackettLuce(tau=1.0), "max_regret": 0.5},
    "capped": {"policy": PlackettLuce(tau=1.0), "max_expected_regret": 0.1},
    "capped_mixture": {"policy": DEFAULT, "max_expected_regret": 0.1},
}
ways = pytest.mark.parametrize("way", WAYS)


def slate(way: str, *, slots: int = 3, **fields: Any) -> SlateExplore:
    return SlateExplore(ids="ids", slots=slots, **{**WAYS[way], **fields})


def candidates(
    n: int = 6, *, seed: int = 0, masked: tuple[int, ...] = (), pins: dict[int, int] | None = None
) -> Candidates:
    rng = np.random.default_rng(seed)
    eligible = np.ones(n, np.bool_)
    eligible[list(masked)] = False
    return Candidates(
        rng.normal(size=n),
        item_hashes(np.arange(100, 100 + n)),
        eligible,
        pins=pins or {},
        cold=rng.integers(0, 3, n).astype(np.float64),
    )


def pins_of(way: str, n: int) -> dict[int, int]:
    return {slot - 1: int(item) - 100 for slot, item in WAYS[way].get("pinned", {}).items()}


def every_slate(explorer: SlateExplorer, made: Candidates) -> dict[tuple[int, ...], float]:
    """Enumerate all slates and their probabilities."""
    distribution = explorer.distribution(made)
    allowed = np.flatnonzero(made.eligible)
    return {
        slots: float(np.exp(log_prob(distribution, np.array(slots))))
        for slots in permutations(allowed.tolist(), distribution.k)
    }


@ways
@pytest.mark.parametrize(("n", "slots"), [(7, 4), (5, 2), (4, 4), (2, 4)])
def test_the_probabilities_of_all_slates_sum_to_one(way: str, n: int, slots: int) -> None:
    pins = pins_of(way, n) if n > 3 else {}
    made = candidates(n, seed=n, masked=(1,) if n > 4 else (), pins=pins)
    explorer = SlateExplorer(slate(way, slots=slots), SALT)
    if made.eligible.sum() - len(pins) < 1:
        return

    every = every_slate(explorer, made)

    assert sum(every.values()) == pytest.approx(1, abs=1e-12)
    first = np.zeros(n)
    for slots_, p in every.items():
        first[slots_[0]] += p
    distribution = explorer.distribution(made)
    np.testing.assert_allclose(distribution.first_slot(), first, atol=1e-12)


@ways
def test_slates_are_served_as_often_as_their_propensity_says(way: str) -> None:
    made = candidates(5, seed=2, pins=pins_of(way, 5))
    explorer = SlateExplorer(slate(way), SALT)
    every = every_slate(explorer, made)
    n = 3_000
    counts = dict.fromkeys(every, 0)
    weight = 0.0
    for at in range(n):
        choices = explorer.decide(made, str(at))
        slots = tuple(choices.served[0].tolist())
        counts[slots] += 1
        told = np.exp(choices.log_p[0])
        assert told == pytest.approx(every[slots], rel=1e-9)
        weight += 1 / told
    p = np.array(list(every.values()))
    seen = np.array(list(counts.values()))

    assert (seen[p == 0] == 0).all()
    possible = p > 0
    rare = possible & (n * p < 5)
    observed = np.append(seen[possible & ~rare], seen[rare].sum())
    expected = np.append(p[possible & ~rare], p[rare].sum()) * n
    observed, expected = observed[expected > 0], expected[expected > 0]
    if len(observed) > 1:
        g = 2 * float((observed[observed > 0] * np.log((observed / expected)[observed > 0])).sum())
        assert chi2.sf(g, len(observed) - 1) > 1e-4
    else:
        assert way == "greedy"
    # E[1/p] is the number of slates that can be served.
    spread = np.sqrt(float((1 / p[possible]).sum()) - possible.sum() ** 2 + 1e-9)
    assert weight / n == pytest.approx(possible.sum(), abs=5 * spread / np.sqrt(n) + 1e-9)


@ways
def test_conditional_propensities_are_ratios_of_beginnings(way: str) -> None:
    made = candidates(6, seed=5, pins=pins_of(way, 6))
    explorer = SlateExplorer(slate(way), SALT)
    every = every_slate(explorer, made)

    def beginning(prefix: tuple[int, ...]) -> float:
        return sum(p for slots, p in every.items() if slots[: len(prefix)] == prefix)

    distribution = explorer.distribution(made)
    for slots, p in every.items():
        if p == 0:
            continue
        wanted = [beginning(slots[: j + 1]) / beginning(slots[:j]) for j in range(len(slots))]
        np.testing.assert_allclose(distribution.cond_probs(np.array(slots)), wanted, rtol=1e-9)


@ways
def test_marginals_agree_with_enumeration(way: str) -> None:
    made = candidates(6, seed=3, masked=(4,), pins=pins_of(way, 6))
    explorer = SlateExplorer(slate(way), SALT)
    distribution = explorer.distribution(made)
    if way in ("cold", "cold_floor", "floor"):
        with pytest.raises(NoMarginalsError, match="no exact marginals"):
            distribution.marginals()
        return
    found = distribution.marginals()
    wanted = np.zeros_like(found)
    for slots, p in every_slate(explorer, made).items():
        wanted[slots, range(len(slots))] += p

    np.testing.assert_allclose(found, wanted, atol=1e-10)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-10)  # of every position
    assert (found.sum(axis=1) <= 1 + 1e-10).all()  # inclusion


@given(
    n=st.integers(2, 8),
    k=st.integers(1, 5),
    spread=st.sampled_from([0.0, 1.0, 5.0, 40.0, 1e300]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_plackett_luce_marginals_are_exact_however_far_the_weights_are_apart(
    n: int, k: int, spread: float, seed: int
) -> None:
    scores = np.random.default_rng(seed).normal(size=n) * spread
    made = Candidates(scores, item_hashes(np.arange(n)), np.ones(n, np.bool_))
    explorer = SlateExplorer(slate("plackett_luce", slots=k), SALT)
    wanted = np.zeros((n, min(k, n)))
    for slots, p in every_slate(explorer, made).items():
        wanted[slots, range(len(slots))] += p

    np.testing.assert_allclose(explorer.distribution(made).marginals(), wanted, atol=1e-10)


def test_marginals_of_a_thousand_items_sum_to_one_at_every_position() -> None:
    made = candidates(1000)
    found = SlateExplorer(slate("plackett_luce", slots=10), SALT).distribution(made).marginals()

    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-10)


def test_uniform_slates_show_everything_everywhere_alike() -> None:
    """1/n at each position; k/n is the probability of being shown at all."""
    made = candidates(8)
    for policy in (EpsilonGreedy(epsilon=1.0), UniformBucket(share=1.0)):
        explorer = SlateExplorer(SlateExplore(ids="ids", slots=3, policy=policy), SALT)
        found = explorer.distribution(made).marginals()

        np.testing.assert_allclose(found, 1 / 8, atol=1e-10)


@pytest.mark.parametrize(
    ("sharp", "flat"),
    [
        (EpsilonGreedy(epsilon=0), EpsilonGreedy(epsilon=1)),
        (PlackettLuce(tau=1e-9), PlackettLuce(tau=1e9)),
        (UniformBucket(share=0), UniformBucket(share=1)),
    ],
)
def test_the_limits_of_every_policy_are_greedy_and_uniform(
    sharp: SlatePolicy, flat: SlatePolicy
) -> None:
    made = candidates(6)

    greedy = SlateExplorer(SlateExplore(ids="i", slots=3, policy=sharp), SALT).decide(made, "a")
    every = every_slate(SlateExplorer(SlateExplore(ids="i", slots=3, policy=flat), SALT), made)

    assert greedy.served.tolist() == greedy.greedy.tolist()
    np.testing.assert_allclose(np.exp(greedy.log_p), 1, atol=1e-12)
    np.testing.assert_allclose(list(every.values()), 1 / 120, rtol=1e-6)


@ways
@given(seed=st.integers(0, 1000), order=st.permutations(range(9)))
@settings(max_examples=15, deadline=None)
def test_the_order_of_candidates_does_not_matter(way: str, seed: int, order: list[int]) -> None:
    made = candidates(9, seed=seed, masked=(7,), pins=pins_of(way, 9))
    made = Candidates(
        made.scores.round(0), made.hashes, made.eligible, made.pins, made.cold
    )  # with ties
    place = {item: at for at, item in enumerate(order)}
    moved = Candidates(
        made.scores[order],
        made.hashes[order],
        made.eligible[order],
        {slot: place[item] for slot, item in made.pins.items()},
        None if made.cold is None else made.cold[order],
    )
    explorer = SlateExplorer(slate(way, slots=4), SALT)
    here, there = explorer.decide(made, f"key {seed}"), explorer.decide(moved, f"key {seed}")

    assert [order[item] for item in there.served[0].tolist()] == here.served[0].tolist()
    assert [order[item] for item in there.greedy[0].tolist()] == here.greedy[0].tolist()
    np.testing.assert_allclose(there.conditional, here.conditional, rtol=1e-9)


def test_hashes_of_ids_follow_the_id_and_nothing_else() -> None:
    words = [b"", b"a", b"a\0", b"a\0\0", b"b", b"a" * 8, b"a" * 9, b"longer than eight bytes"]
    ids = np.array([*words, None], object)[:-1]
    hashes = item_hashes(ids)

    assert len(set(hashes.tolist())) == len(words)
    for at in range(len(words)):  # also alone, where the padding is another
        assert item_hashes(ids[at : at + 1])[0] == hashes[at]
    assert item_hashes(np.array([-1, 5])).tolist() == [2**64 - 1, 5]


def test_one_long_id_costs_no_more_than_itself() -> None:
    long = [b"x" * 1_000_000 + end for end in (b"", b"y", b"z")]
    ids = np.array([*long, *(b"%d" % n for n in range(5000)), None], object)[:-1]
    tracemalloc.start()
    hashes = item_hashes(ids)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most_bytes < 4_000_000
    assert len(set(hashes.tolist())) == len(ids)
    for at in (0, 1, 2, 3, len(ids) - 1):
        assert item_hashes(ids[at : at + 1])[0] == hashes[at]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scores": [0.1, np.nan, 0.3]}, "not_finite"),
        ({"scores": [0.1, np.inf, 0.3]}, "not_finite"),
        ({"scores": [0.5, 0.5, 0.5]}, "all_equal"),
        ({"hashes": [7, 7, 9]}, "duplicate_ids"),
        ({"eligible": [False, True, False]}, "too_few"),
    ],
)
def test_doubt_means_the_greedy_slate(change: dict[str, Any], reason: str) -> None:
    fields = {"scores": [0.1, 0.2, 0.3], "hashes": [7, 8, 9], "eligible": [True] * 3} | change
    made = Candidates(
        np.array(fields["scores"]),
        np.array(fields["hashes"], np.uint64),
        np.array(fields["eligible"]),
    )
    for way in WAYS:
        choices = SlateExplorer(slate(way, slots=2, pinned={}), SALT).decide(made, "k")

        assert choices.reasons == (reason,)
        assert choices.served.tolist() == choices.greedy.tolist()
        assert (choices.propensity == 1).all()
        assert set(choices.served[0].tolist()) <= set(np.flatnonzero(made.eligible).tolist())


def test_a_floor_that_the_candidates_cannot_share_means_greedy() -> None:
    explorer = SlateExplorer(slate("floor", floor=0.2), SALT)

    assert explorer.decide(candidates(6), "k").reasons == ("floor",)


def test_the_floor_holds_at_every_slot() -> None:
    for way in ("floor", "cold_floor"):
        distribution = SlateExplorer(slate(way), SALT).distribution(candidates(7))
        for slots in permutations(range(7), 3):
            assert (distribution.cond_probs(np.array(slots)) >= 0.05 * (1 - 1e-9)).all()


@pytest.mark.parametrize("way", ["capped", "capped_mixture"])
def test_expected_regret_is_capped_and_reached(way: str) -> None:
    for seed in range(30):
        made = candidates(9, seed=seed)
        choices = SlateExplorer(slate(way), SALT).decide(made, "k")

        assert choices.reasons == (None,)
        assert choices.expected_regret[0] <= 0.1 * (1 + 1e-9)
        assert choices.expected_regret[0] > 0.08


def test_the_regret_of_a_slate_of_one_slot_is_that_of_its_distribution() -> None:
    for way in ("epsilon", "plackett_luce", "bucket", "mixture", "floor"):
        made = candidates(9)
        explorer = SlateExplorer(slate(way, slots=1), SALT)
        choices = explorer.decide(made, "k")
        gaps = made.scores.max() - made.scores

        assert choices.expected_regret[0] == pytest.approx(float(choices.first[0] @ gaps))


def test_a_gate_closed_in_time_never_draws() -> None:
    asked: list[float] = []

    def charge(_row: int, regret: float) -> str | None:
        asked.append(regret)
        return "budget"

    explorer = SlateExplorer(slate("plackett_luce"), SALT)
    made = candidates()

    assert explorer.decide(made, "k", closed="kill_switch", charge=charge).reasons[0] != "budget"
    assert not asked
    assert explorer.decide(made, "k", charge=charge).reasons == ("budget",)
    assert asked[0] > 0


@ways
def test_only_the_draw_depends_on_the_salt(way: str) -> None:
    made = candidates(8, pins=pins_of(way, 8))
    here = [SlateExplorer(slate(way), SALT).decide(made, str(at)) for at in range(40)]
    there = [SlateExplorer(slate(way), SALT[::-1]).decide(made, str(at)) for at in range(40)]

    for one, other in zip(here, there, strict=True):
        assert one.reasons == other.reasons
        assert one.greedy.tolist() == other.greedy.tolist()
        assert one.first.tolist() == other.first.tolist()
        assert one.expected_regret.tolist() == other.expected_regret.tolist()
    if way not in ("greedy",):
        assert any(a.served.tolist() != b.served.tolist() for a, b in zip(here, there, strict=True))


def test_fair_pairs_move_an_item_by_one_rank_as_often_as_they_should() -> None:
    explorer = SlateExplorer(slate("fair_pairs", slots=6), SALT)
    made = candidates(6)
    found = explorer.distribution(made).marginals()
    ranked = explorer.decide(made, "k").greedy[0]

    for rank in (1, 2, 3, 4):
        np.testing.assert_allclose(found[ranked[rank], rank - 1 : rank + 2], [0.25, 0.5, 0.25])
    for end, inner in ((0, 1), (5, 4)):
        np.testing.assert_allclose(found[ranked[end], [end, inner]], [0.75, 0.25])


def test_a_reserved_slot_is_drawn_by_quota() -> None:
    """(1 - q) organic + q w / sum(w), where the pool is not part of what came before."""
    made = Candidates(
        np.array([5.0, 4.0, 3.0, 0.0, 0.1]),
        item_hashes(np.arange(5)),
        np.ones(5, np.bool_),
        cold=np.array([0.0, 0, 0, 3, 1]),
    )
    explorer = SlateExplorer(slate("cold", policy=Greedy()), SALT)
    distribution = explorer.distribution(made)

    assert distribution.cond_probs(np.array([0, 1, 2])) == pytest.approx([1, 0.7, 1])
    assert distribution.cond_probs(np.array([0, 3, 1])) == pytest.approx([1, 0.3 * 0.75, 1])
    assert distribution.cond_probs(np.array([0, 4, 1])) == pytest.approx([1, 0.3 * 0.25, 1])


def test_an_apprentice_serves_the_baseline_and_records_what_it_would_have_served() -> None:
    made = candidates(6)
    with_baseline = Candidates(
        made.scores, made.hashes, made.eligible, baseline=np.array([5, 4, 3])
    )
    live = SlateExplorer(slate("plackett_luce"), SALT).decide(made, "k")
    apprentice = SlateExplorer(
        slate("plackett_luce", mode="apprentice", baseline="shown"), SALT
    ).decide(with_baseline, "k")

    assert apprentice.served.tolist() == [[5, 4, 3]]
    assert (apprentice.propensity == 1).all()
    assert not apprentice.explored.any()
    assert apprentice.conditional.shape == live.conditional.shape


@pytest.mark.parametrize(
    "fields",
    [
        {"swap_pairs": {}, "policy": {"kind": "epsilon_greedy"}},
        {"swap_pairs": {}, "policy": {"kind": "greedy"}, "slots": 30},
        {"pinned": {0: "a"}},
        {"pinned": {1: "a", 2: "a"}},
        {"cold_start": {"slot": 4, "weights": "w"}},
        {"mode": "apprentice"},
        {"slots": 0},
        {"policy": {"kind": "squarecb", "gamma": 1}},
    ],
)
def test_settings_that_cannot_be_kept_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SlateExplore.model_validate({"ids": "ids", "slots": 3} | fields)


@given(
    scores=st.lists(st.floats(width=64), min_size=1, max_size=12),
    way=st.sampled_from(sorted(WAYS)),
    slots=st.integers(1, 5),
    masked=st.sets(st.integers(0, 11)),
)
@settings(max_examples=200, deadline=None)
def test_whatever_the_scores_a_slate_of_eligible_items_is_served(
    scores: list[float], way: str, slots: int, masked: set[int]
) -> None:
    n = len(scores)
    eligible = np.array([at not in masked for at in range(n)])
    if not eligible.any():
        eligible[0] = True
    made = Candidates(np.array(scores), item_hashes(np.arange(n)), eligible, cold=np.array(scores))
    settings_ = slate(way, slots=max(slots, 2), pinned={})
    choices = SlateExplorer(settings_, SALT).decide(made, "k")
    served = choices.served[0].tolist()

    assert len(served) == len(set(served)) == min(max(slots, 2), int(eligible.sum()))
    assert all(eligible[item] for item in served)
    assert ((choices.conditional > 0) & (choices.conditional <= 1 + 1e-12)).all()
