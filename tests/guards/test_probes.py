"""Pseudo-anomalies are what their names say, and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.stress.probes import PROBES
from guards.verdict import Rows

ONE_FIELD = {"unit_error_10": 1, "unit_error_100": 1, "missing": 1, "swapped_columns": 2}


def rows_of(n: int, d: int, *, seed: int, dtype: type[np.floating] = np.float32) -> Rows:
    """No two values alike, and none is zero."""
    return np.random.default_rng(seed).uniform(1, 2, (n, d)).astype(dtype)


sizes = st.integers(2, 30)
seeds = st.integers(0, 2**16)


@pytest.mark.parametrize("name", PROBES)
@given(n=sizes, d=sizes, seed=seeds, dtype=st.sampled_from([np.float32, np.float64]))
def test_a_probe_keeps_the_shape_and_spoils_no_row_it_was_given(
    name: str, n: int, d: int, seed: int, dtype: type[np.floating]
) -> None:
    rows = rows_of(n, d, seed=seed, dtype=dtype)
    before = rows.copy()
    spoilt = PROBES[name](rows, np.random.default_rng(seed))

    np.testing.assert_array_equal(rows, before)
    assert (spoilt.shape, spoilt.dtype) == (rows.shape, rows.dtype)
    assert not np.shares_memory(spoilt, rows)


@pytest.mark.parametrize("name", PROBES)
@given(n=sizes, d=sizes, seed=seeds)
def test_the_same_seed_spoils_alike(name: str, n: int, d: int, seed: int) -> None:
    rows = rows_of(n, d, seed=seed)
    once, twice = (PROBES[name](rows, np.random.default_rng(seed)) for _ in range(2))

    np.testing.assert_array_equal(once, twice)


@pytest.mark.parametrize("name", PROBES)
def test_nearly_every_row_is_changed(name: str) -> None:
    rows = rows_of(200, 12, seed=0)
    changed = (PROBES[name](rows, np.random.default_rng(1)) != rows).any(axis=1)

    assert changed.mean() >= 0.98  # a shuffle may leave a row's few fields where they were


@pytest.mark.parametrize(("name", "fields"), ONE_FIELD.items())
def test_a_small_error_changes_exactly_its_fields(name: str, fields: int) -> None:
    rows = rows_of(100, 8, seed=0)
    changed = PROBES[name](rows, np.random.default_rng(1)) != rows

    assert (changed.sum(axis=1) == fields).all()
    assert (changed.any(axis=0)).all()  # every column has its turn


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("shape", [(0, 5), (1, 5), (5, 1), (1, 1)])
def test_few_rows_and_few_columns_are_spoilt_as_far_as_they_can_be(
    name: str, shape: tuple[int, int]
) -> None:
    rows = rows_of(*shape, seed=0)

    assert PROBES[name](rows, np.random.default_rng(1)).shape == shape


@pytest.mark.parametrize("name", PROBES)
def test_rows_that_are_not_finite_stop_no_probe(name: str) -> None:
    rows = rows_of(20, 6, seed=0)
    rows[3], rows[5, 2], rows[:, 4], rows[7, 1] = np.nan, np.inf, np.nan, -np.inf

    assert PROBES[name](rows, np.random.default_rng(1)).shape == rows.shape


def test_shuffled_columns_hold_the_values_they_held() -> None:
    rows = rows_of(50, 6, seed=0)
    spoilt = PROBES["column_shuffle"](rows, np.random.default_rng(1))

    np.testing.assert_array_equal(np.sort(spoilt, axis=0), np.sort(rows, axis=0))


def test_three_fields_in_ten_are_replaced_by_values_of_their_column() -> None:
    rows = rows_of(400, 10, seed=0)
    spoilt = PROBES["partial_replacement"](rows, np.random.default_rng(1))

    assert (spoilt != rows).sum(axis=1).max() == 3
    assert (spoilt != rows).sum() == pytest.approx(3 * 400, abs=20)  # a few meet themselves
    assert all(np.isin(spoilt[:, column], rows[:, column]).all() for column in range(10))


def test_jitter_doubles_the_variance_of_every_column() -> None:
    rows = (np.random.default_rng(0).normal(size=(20_000, 4)) * [1, 10, 0.1, 0]).astype(np.float32)
    spoilt = PROBES["jitter"](rows, np.random.default_rng(1))

    # The standard error of a variance ratio at n = 20,000 is about 1.4 %.
    np.testing.assert_allclose(spoilt.var(axis=0)[:3] / rows.var(axis=0)[:3], 2.0, rtol=0.06)
    assert (spoilt[:, 3] == 0).all()


def test_a_stale_row_holds_half_of_one_other_row() -> None:
    rows = rows_of(60, 8, seed=0)
    spoilt = PROBES["stale"](rows, np.random.default_rng(1))

    for row, (there, here) in enumerate(zip(spoilt, rows, strict=True)):
        changed = np.flatnonzero(there != here)
        assert np.array_equal(changed, np.arange(changed[0], changed[0] + 4))
        (donor,) = np.flatnonzero((rows[:, changed] == there[changed]).all(axis=1))
        assert donor != row


def test_a_constant_row_repeats_a_value_of_its_own() -> None:
    rows = rows_of(60, 8, seed=0)
    spoilt = PROBES["constant"](rows, np.random.default_rng(1))

    assert (spoilt == spoilt[:, :1]).all()
    assert ((rows == spoilt[:, :1]).sum(axis=1) == 1).all()


def test_a_unit_error_avoids_the_zeros_that_it_would_leave_as_they_are() -> None:
    rows = np.zeros((50, 6), np.float32)
    rows[:, 4] = 3
    spoilt = PROBES["unit_error_100"](rows, np.random.default_rng(1))

    assert (spoilt[:, 4] == 300).all()
    assert (np.delete(spoilt, 4, axis=1) == 0).all()
