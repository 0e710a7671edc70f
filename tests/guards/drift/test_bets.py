"""No bet is better than fair against any traffic that the reference allows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.drift.bets import Bets
from guards.drift.cells import CELLS
from guards.drift.reference import Channel, Reference

RNG = np.random.default_rng(0)
SHAPES = {
    "normal": RNG.normal(size=1000),
    "tiny": RNG.normal(size=20),
    "half missing": np.where(RNG.random(1000) < 0.5, np.nan, RNG.normal(size=1000)),
    "atoms": RNG.integers(0, 5, 1000).astype(float),
    "zero-inflated": np.where(RNG.random(1000) < 0.6, 0.0, RNG.lognormal(size=1000)),
    "constant": np.full(1000, 3.0),
    "all missing": np.full(100, np.nan),
}


def _reference(values: np.ndarray, kind: str = "numeric") -> Reference:
    return Reference.fit([Channel("x", values, kind)])  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
@pytest.mark.parametrize("values", SHAPES.values(), ids=SHAPES)
def test_traffic_like_the_reference_wins_nothing(values: np.ndarray, kind: str) -> None:
    reference = _reference(values, kind)
    share = reference.counts[0] / reference.n[0]

    bets = Bets.on(reference, delta=0.05)

    assert (share @ np.exp(bets.log_payoffs[0]) <= 1 + 1e-9).all()
    assert np.exp(bets.log_stakes).sum(axis=1) == pytest.approx(1)
    assert len(bets.labels[0]) == bets.log_stakes.shape[1]


@given(st.integers(0, 10_000), st.sampled_from(["normal", "atoms", "zero-inflated"]))
def test_a_bet_is_fair_to_whatever_lies_within_the_bounds(seed: int, shape: str) -> None:
    """Draw the reference from a known distribution over cells: it is within the bounds of nearly
    every reference, and where it is, no payoff has an expected value above 1."""
    rng = np.random.default_rng(seed)
    truth = _reference(SHAPES[shape])
    share = truth.counts[0] / truth.n[0]
    drawn = Reference(
        truth.layout, rng.multinomial(500, share)[None], truth.ranked & False, truth.design
    )

    bets = Bets.on(drawn, delta=1e-6)  # 1e-6: the bounds hold for all seeds there are

    assert (share @ np.exp(bets.log_payoffs[0]) <= 1 + 1e-9).all()


def test_slack_makes_a_small_drift_unprofitable() -> None:
    reference = _reference(RNG.normal(size=50_000))
    slightly = reference.layout.codes(RNG.normal(0.1, 1, size=(50_000, 1)))[:, 0]
    share = np.bincount(slightly, minlength=CELLS) / len(slightly)

    tight, loose = (Bets.on(reference, delta=0.05, slack=slack) for slack in (0.0, 0.1))

    assert (share @ tight.log_payoffs[0]).max() > 0
    assert (share @ loose.log_payoffs[0]).max() <= 0


def test_a_design_effect_makes_every_value_worth_less() -> None:
    plain = _reference(SHAPES["normal"])
    bursty = Reference(plain.layout, plain.counts, plain.ranked, plain.design * 4)

    np.testing.assert_allclose(
        Bets.on(bursty, delta=0.05).log_payoffs * 4, Bets.on(plain, delta=0.05).log_payoffs
    )
