"""The power card counts what guards notice, and says how sure it is."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from guards.outlier.guard import OutlierGuard, OutlierSettings
from guards.stress.power import Budget, Measured, PowerCard, Samples, measure
from guards.stress.probes import PROBES
from guards.stress.rate import Rate

ROWS = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)


def still() -> float:
    return 0.0


def sees_above(limit: float) -> Callable[[Samples], np.ndarray]:
    return lambda samples: np.asarray((samples > limit).any(axis=1))


def card_of(*, seed: int = 0, rows: int = 200, probes: tuple[str, ...] = tuple(PROBES)) -> Measured:
    return measure(
        {name: PROBES[name] for name in probes},
        ROWS,
        {"low": sees_above(3.0), "high": sees_above(30.0)},
        budget=Budget(rows=rows, seed=seed),
        clock=still,
    )


@given(rows=st.integers(0, 500), data=st.data())
def test_the_interval_is_that_of_clopper_and_pearson(rows: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, rows))
    rate = Rate.of(count, rows)

    if rows:
        oracle = binomtest(count, rows).proportion_ci(0.95, "exact")
        assert (rate.low, rate.high) == pytest.approx((oracle.low, oracle.high), abs=1e-9)
        assert rate.share == count / rows
    else:
        assert (rate.share, rate.low, rate.high) == (None, 0.0, 1.0)


def test_the_interval_holds_the_true_share_in_95_of_100_repetitions() -> None:
    rng = np.random.default_rng(0)
    found = [Rate.of(int(rng.binomial(100, 0.8)), 100) for _ in range(2000)]
    covered = np.mean([rate.low <= 0.8 <= rate.high for rate in found])

    assert covered >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 2000)  # three standard errors


def test_what_any_guard_notices_is_counted_once() -> None:
    measured = card_of()
    by_name = {probe.probe: probe.noticed for probe in measured.probes}
    scaled = by_name["unit_error_100"]

    assert set(by_name) == set(PROBES)
    assert scaled["any"].count == scaled["low"].count  # whatever is above 30 is above 3
    assert 0 < scaled["high"].count < scaled["low"].count
    assert scaled["any"].rows == 200
    assert by_name["all_zero"]["any"].count == 0


def test_the_same_seed_counts_the_same_and_another_seed_spoils_otherwise() -> None:
    assert card_of() == card_of()
    assert card_of() != card_of(seed=1)


def test_a_probe_does_not_depend_on_which_others_were_tried() -> None:
    alone = card_of(probes=("unit_error_100",)).probes[0]

    assert alone in card_of().probes


def test_what_there_is_no_time_for_is_named() -> None:
    seconds = iter(range(100))
    measured = measure(
        PROBES,
        ROWS,
        {"low": sees_above(3.0)},
        budget=Budget(seconds=3.0),
        clock=lambda: float(next(seconds)),
    )

    assert [probe.probe for probe in measured.probes] == list(PROBES)[:3]
    assert measured.skipped == tuple(PROBES)[3:]


def test_few_rows_are_all_used_and_no_rows_measure_nothing() -> None:
    few = card_of(rows=5000)
    none = measure(PROBES, ROWS[:0], {"low": sees_above(3)}, budget=Budget(), clock=still)

    assert few.ordinary.noticed["any"].rows == len(ROWS)
    assert none.ordinary.noticed["any"].share is None


def test_an_outlier_guard_notices_what_its_detector_can_see() -> None:
    """Rows on a line: once the columns are shuffled, most lie far from it."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(2000, 1))
    rows = hidden * [1, 2, -3] + 0.1 * rng.normal(size=(2000, 3))
    guard = OutlierGuard.fit(rows[:1000], rows[1000:1500], OutlierSettings(alpha=0.01))
    measured = measure(
        {"column_shuffle": PROBES["column_shuffle"]},
        rows[1500:],
        {"outlier": guard.is_strange},
        budget=Budget(),
        clock=still,
    )

    assert measured.probes[0].noticed["outlier"].low > 0.85
    assert measured.ordinary.noticed["outlier"].high < 0.03


def test_a_card_survives_json() -> None:
    measured = card_of()
    card = PowerCard(
        promise=None,
        ordinary=measured.ordinary,
        probes=measured.probes,
        skipped=("jpeg_1",),
        seed=0,
    )

    assert PowerCard.model_validate_json(card.model_dump_json()) == card
    assert card.power("all_zero").count == 0
