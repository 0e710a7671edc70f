"""Vowpal Wabbit spreads probability over the same costs in the same way."""

from typing import Any

import numpy as np
import pytest

from guards.explore.explorer import Explorer
from guards.explore.policies import EpsilonGreedy, SinglePolicy, Softmax, SquareCb
from guards.explore.settings import SingleExplore

vowpalwabbit = pytest.importorskip("vowpalwabbit")

ACTIONS = 7


def examples() -> list[list[str]]:
    rng = np.random.default_rng(0)
    told = []
    for _ in range(120):
        chosen, x = rng.integers(ACTIONS), rng.normal(size=(ACTIONS, 3)).round(3)
        cost = round(float(x[chosen].sum() * 0.2 + rng.normal() * 0.05), 3)
        lines = [
            (f"0:{cost}:{1 / ACTIONS} " if action == chosen else "")
            + "| "
            + " ".join(f"f{i}:{value}" for i, value in enumerate(x[action]))
            for action in range(ACTIONS)
        ]
        told.append(lines)
    return told


def predictions(options: str) -> np.ndarray[Any, Any]:
    """Learn from all examples, then predict them: what VW says of each action, in their order."""
    workspace = vowpalwabbit.Workspace(f"{options} --quiet --noconstant")
    for lines in examples():
        workspace.learn(lines)
    rows = [
        workspace.predict([line.rpartition("| ")[1] + line.rpartition("| ")[2] for line in lines])
        for lines in examples()
    ]
    workspace.finish()
    return np.array(rows)


@pytest.fixture(scope="module")
def costs() -> np.ndarray[Any, Any]:
    return predictions("--cb_adf --cb_type mtr")


@pytest.mark.parametrize(
    ("policy", "options"),
    [
        (EpsilonGreedy(epsilon=0.2), "--epsilon 0.2"),
        (Softmax(tau=0.1), "--softmax --lambda 10"),
    ],
    ids=lambda value: str(getattr(value, "kind", "")),
)
def test_vw_agrees_on_the_probability_of_every_action(
    policy: SinglePolicy, options: str, costs: np.ndarray[Any, Any]
) -> None:
    theirs = predictions(f"--cb_explore_adf --cb_type mtr {options}")
    settings = SingleExplore(policy=policy, floor=0.0, force_floor=True)
    keys = [str(row) for row in range(len(costs))]
    ours = Explorer(settings, bytes(32)).decide(-costs, keys).first

    np.testing.assert_allclose(ours, theirs, atol=2e-6)  # VW computes in float32


def test_vw_agrees_on_squarecb() -> None:
    """It learns other costs there; they are read from one gamma, and must explain another."""
    squarecb = "--cb_explore_adf --squarecb --gamma_exponent 0 --gamma_scale"
    theirs = {gamma: predictions(f"{squarecb} {gamma}") for gamma in (30, 300)}
    gaps = (1 / theirs[30] - ACTIONS) / 30
    gaps[np.arange(len(gaps)), theirs[30].argmax(axis=1)] = 0.0
    settings = SingleExplore(policy=SquareCb(gamma=300), floor=0.0, force_floor=True)
    ours = Explorer(settings, bytes(32)).decide(-gaps, [str(row) for row in range(len(gaps))])

    np.testing.assert_allclose(ours.first, theirs[300], atol=2e-6)
