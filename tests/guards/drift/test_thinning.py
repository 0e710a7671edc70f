"""Thinning looks at names, the design effect at order; neither at what values mean."""

import numpy as np
import pytest

from guards.drift.thinning import EntityThinner, design_effect


def test_an_entity_counts_once_per_tick_and_strangers_always_do() -> None:
    thinner = EntityThinner()

    assert thinner.first(["a", "b", "a", None, None], 1).tolist() == [True, True, False, True, True]
    assert thinner.first(["a", "c"], 1).tolist() == [False, True]
    assert thinner.first(["a", "c"], 2).tolist() == [True, True]


def test_independent_values_have_no_design_effect() -> None:
    rng = np.random.default_rng(0)

    found = [design_effect(rng.integers(0, 30, 5000)) for _ in range(200)]

    assert np.mean([effect > 1 for effect in found]) <= 0.01 + 4 * np.sqrt(0.01 * 0.99 / 200)


@pytest.mark.parametrize("repeats", [5, 20])
def test_repeated_values_are_worth_as_many_times_less(repeats: int) -> None:
    codes = np.repeat(np.random.default_rng(1).integers(0, 30, 20_000 // repeats), repeats)

    assert repeats <= design_effect(codes) <= 2.5 * repeats


def test_too_few_values_tell_nothing_about_their_order() -> None:
    assert design_effect(np.arange(1000)) == 1.0
