"""A sample of a large reference stands for all of it."""

import time

import numpy as np

from guards.outlier.guard import OutlierGuard, OutlierSettings
from guards.outlier.subsample import subsample


def test_all_rows_are_kept_where_there_are_few() -> None:
    usable = np.array([2, 5, 7])

    np.testing.assert_array_equal(subsample(np.zeros((9, 2)), usable, 3), usable)


def test_each_row_is_chosen_once_and_the_choice_repeats() -> None:
    rows = np.random.default_rng(0).normal(size=(3000, 4))
    usable = np.arange(1, 3000, 2)
    chosen = subsample(rows, usable, 500)

    assert len(np.unique(chosen)) == 500
    assert np.isin(chosen, usable).all()
    np.testing.assert_array_equal(subsample(rows, usable, 500), chosen)


def test_a_rare_group_stays_as_rare_as_it_is() -> None:
    """Herding alone may drop or favour a group; 5 % must stay about 5 %."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(10_000, 3))
    rows[:500] += 6
    chosen = subsample(rows, np.arange(10_000), 1000)

    assert 0.035 < np.mean(chosen < 500) < 0.065


def test_the_mean_of_what_is_chosen_is_nearer_than_chance_would_have_it() -> None:
    rows = np.random.default_rng(0).normal(size=(4000, 3))
    chosen = subsample(rows, np.arange(4000), 400)

    by_chance = 1 / np.sqrt(400)
    assert np.abs(rows[chosen].mean(axis=0) - rows.mean(axis=0)).max() < by_chance


def test_the_promise_holds_after_subsampling() -> None:
    rng = np.random.default_rng(0)
    settings = OutlierSettings(reference_rows=200)
    reference, fresh = rng.normal(size=(3000, 5)), rng.normal(size=(20_000, 5))
    rates = [
        OutlierGuard.fit(reference, rng.normal(size=(1000, 5)), settings).is_strange(fresh).mean()
        for _ in range(10)
    ]

    assert 0.002 < np.mean(rates) <= 0.01


def test_a_full_reference_is_chosen_in_seconds() -> None:
    rows = np.random.default_rng(0).normal(size=(20_000, 32))
    began = time.process_time()
    subsample(rows, np.arange(20_000), 4096)

    assert time.process_time() - began < 5
