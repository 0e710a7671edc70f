"""A strange row names the field that made it strange."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guards.outlier.blame import Extremes, Suspicion
from guards.outlier.explain import COMPARED_ROWS, COMPARISONS, NAMED_ROWS
from guards.outlier.guard import OutlierGuard, OutlierSettings
from guards.outlier.tails import Scales
from guards.outlier.whitening import Basis
from guards.verdict import Rows

DEFAULT = OutlierSettings()
D = 10
UNEXPLAINED = 0.3 * np.logspace(0, 3, D)  # what no other field tells about a field


def rows_of(n: int, *, seed: int) -> Rows:
    """Ten fields driven by three hidden ones, on unlike scales."""
    loadings = np.random.default_rng(7).normal(size=(3, D))
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 3)) @ loadings + 0.3 * rng.normal(size=(n, D))) * np.logspace(
        0, 3, D
    )


@pytest.fixture(scope="module")
def guard() -> OutlierGuard:
    names = [f"f{column}" for column in range(D)]
    return OutlierGuard.fit(
        rows_of(2000, seed=0), rows_of(1000, seed=1), DEFAULT, feature_names=names
    )


def spoilt(sigmas: np.ndarray, *, fields: int = 1) -> tuple[Rows, np.ndarray]:
    """Ordinary rows with some fields moved by so many units each; and which fields, (n, fields)."""
    rows = rows_of(300, seed=2)
    rng = np.random.default_rng(3)
    wrong = np.array([rng.choice(D, fields, replace=False) for _ in rows])
    rows[np.arange(len(rows))[:, None], wrong] += (sigmas * rng.choice((-1, 1), D))[wrong]
    return rows, wrong


def share_blamed_rightly(guard: OutlierGuard, rows: Rows, wrong: np.ndarray) -> float:
    """Share of the strange rows whose first reasons are the fields that were changed."""
    reasons = {at: guard.check(rows[at : at + 1]).reasons for at in range(len(rows))}
    first = {
        at: {reason.feature for reason in why[0][: wrong.shape[1]]}
        for at, why in reasons.items()
        if why
    }
    assert len(first) >= 50
    return float(np.mean([named == {f"f{c}" for c in wrong[at]} for at, named in first.items()]))


def test_a_field_six_sigma_out_is_the_first_reason(guard: OutlierGuard) -> None:
    rows, wrong = spoilt(6 * rows_of(2000, seed=0).std(axis=0))

    assert share_blamed_rightly(guard, rows, wrong) >= 0.95


def test_a_field_at_odds_with_the_others_is_the_first_reason(guard: OutlierGuard) -> None:
    """Six conditional sigma: unremarkable alone, impossible beside the other fields."""
    rows, wrong = spoilt(6 * UNEXPLAINED)

    assert share_blamed_rightly(guard, rows, wrong) >= 0.85


def test_two_fields_six_sigma_out_are_the_first_two_reasons(guard: OutlierGuard) -> None:
    rows, wrong = spoilt(6 * rows_of(2000, seed=0).std(axis=0), fields=2)

    assert share_blamed_rightly(guard, rows, wrong) >= 0.85


def test_the_expectation_leaves_out_what_is_to_blame_already(guard: OutlierGuard) -> None:
    """Two fields at odds with the rest: one must not make the other look right."""
    row = rows_of(1, seed=4)
    row[0, 3] += 12 * UNEXPLAINED[3]
    row[0, 6] -= 12 * UNEXPLAINED[6]
    one, other = guard.check(row).reasons[0][:2]

    assert {one.feature, other.feature} == {"f3", "f6"}
    for reason in (one, other):
        change = 12 if reason.feature == "f3" else -12
        column = int(reason.feature[1:])
        likely = float(reason.expected.split()[0])
        truth = row[0, column] - change * UNEXPLAINED[column]
        assert likely == pytest.approx(truth, abs=4 * UNEXPLAINED[column])


def test_the_expectation_is_the_regression_on_the_other_fields(guard: OutlierGuard) -> None:
    """Ordinary least squares on the reference is the oracle."""
    reference = rows_of(2000, seed=0)
    row = rows_of(1, seed=4)
    row[0, 3] += 30
    others = [column for column in range(D) if column != 3]
    design = np.column_stack([np.ones(len(reference)), reference[:, others]])
    weights, residue, *_ = np.linalg.lstsq(design, reference[:, 3], rcond=None)
    spread = float(np.sqrt(residue[0] / len(reference)))

    reason = guard.check(row).reasons[0][0]
    mean, width = (float(word) for word in reason.expected.split()[0:3:2])

    assert (reason.feature, reason.kind, reason.observed) == ("f3", "conditional", row[0, 3])
    assert reason.expected.endswith("given the other fields")
    # Shrinkage of the covariance pulls the mean in and widens the interval, both slightly.
    assert mean == pytest.approx(weights[0] + row[0, others] @ weights[1:], abs=0.3 * spread)
    assert width == pytest.approx(spread, rel=0.15)


def test_a_field_far_out_on_its_own_is_compared_with_its_own_range(guard: OutlierGuard) -> None:
    row = rows_of(1, seed=5)
    row[0, 2] = 1e6
    reason = guard.check(row).reasons[0][0]

    assert (reason.feature, reason.kind, reason.observed) == ("f2", "tail", 1e6)
    assert "given" not in reason.expected
    assert reason.p is not None
    assert reason.p < 1e-9


def test_the_columns_of_one_tensor_are_numbered() -> None:
    guard = OutlierGuard.fit(
        rows_of(500, seed=0), rows_of(300, seed=1), DEFAULT, feature_names=["image"]
    )
    row = rows_of(1, seed=2)
    row[0, 3] = np.nan

    assert guard.check(row).reasons[0][0].feature == "image[3]"


def test_several_names_must_be_one_per_column() -> None:
    with pytest.raises(ValueError, match="2 names for 10 columns"):
        OutlierGuard.fit(
            rows_of(500, seed=0), rows_of(300, seed=1), DEFAULT, feature_names=["a", "b"]
        )


def test_what_lies_in_the_range_of_the_reference_is_no_tail() -> None:
    """One row in fifty holds a thousand: that is far out for a Gaussian, and ordinary here."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1500, 4))
    rows[::50, 1] += 1000
    guard = OutlierGuard.fit(rows[:1000], rows[1000:], OutlierSettings(alpha=0.01))
    row = np.array([[9.0, 1000.0, 0.0, 0.0]])

    reasons = guard.check(row).reasons[0]
    assert (reasons[0].feature, reasons[0].kind) == ("column 0", "tail")
    assert "column 1" not in {reason.feature for reason in reasons if reason.kind == "tail"}


def test_the_most_similar_rows_tell_what_stands_out(guard: OutlierGuard) -> None:
    row = rows_of(1, seed=4)
    was = row[0, 3]
    row[0, 3] += 30 * UNEXPLAINED[3]
    (reason,) = [why for why in guard.check(row).reasons[0] if why.kind == "neighbours"]

    assert (reason.feature, reason.observed) == ("f3", row[0, 3])
    value, share = reason.expected.split()[0], reason.expected.split()[4]
    assert float(value) == pytest.approx(was, abs=10 * UNEXPLAINED[3])
    assert 50 <= int(share.rstrip("%")) <= 100


def test_a_repair_makes_the_row_ordinary(guard: OutlierGuard) -> None:
    """Putting the values it names into the fields it names is enough, and fewer are not."""
    rows, wrong = spoilt(6 * rows_of(2000, seed=0).std(axis=0), fields=2)
    exact = 0
    for at in range(40):
        row = rows[at : at + 1].copy()
        (repair,) = [why for why in guard.check(row).reasons[0] if why.kind == "repair"]
        names = repair.feature.split(", ")
        values = [float(v) for v in repair.expected.removeprefix("ordinary with ").split(", ")]
        exact += set(names) == {f"f{column}" for column in wrong[at]}
        for name, value in zip(names, values, strict=True):
            assert guard.is_strange(row)[0]
            row[0, int(name[1:])] = value
        assert not guard.is_strange(row)[0]
        # The values are told with four digits.
        assert guard.p_values(row)[0] == pytest.approx(repair.p, abs=0.05)

    assert exact >= 34  # 85 %


def test_the_nearest_reference_row_is_named_only_where_it_may_be() -> None:
    rows = np.vstack([rows_of(600, seed=0), np.full((1, D), np.nan)])
    rows[100] = np.nan  # left out, and the numbers of those behind it stand
    row = rows[222].copy()[None]
    row[0, 3] += 30 * UNEXPLAINED[3]
    silent, telling = (
        OutlierGuard.fit(
            rows, rows_of(400, seed=1), OutlierSettings(name_nearest=told, reference_rows=4096)
        )
        for told in (False, True)
    )

    assert "nearest" not in {reason.kind for reason in silent.check(row).reasons[0]}
    (nearest,) = [why for why in telling.check(row).reasons[0] if why.kind == "nearest"]
    assert nearest.observed == "reference row 222"


def test_a_flood_of_strange_rows_is_explained_within_bounds(guard: OutlierGuard) -> None:
    rows, _ = spoilt(np.full(D, 1e5))
    reasons = guard.check(rows).reasons

    assert len(reasons) == len(rows)
    compared = [at for at, why in reasons.items() if {r.kind for r in why} & COMPARISONS]
    named = [at for at, why in reasons.items() if why[0].kind != "isolated"]
    assert compared == list(range(COMPARED_ROWS))
    assert named == list(range(NAMED_ROWS))


@pytest.mark.parametrize("n", [1, 2, 3, 9, 1000])
def test_a_value_that_k_of_n_rows_exceed_has_no_p_value_below_2k_of_n(n: int) -> None:
    rows = np.arange(n, dtype=float)[:, None]
    extremes = Extremes.of(rows)

    for (low, high), p in zip(extremes.values[:, :, 0].T, extremes.least_p, strict=True):
        beyond = min((rows <= low).sum(), (rows >= high).sum())
        assert p <= 2 * beyond / (n + 1) + 1e-12


@pytest.mark.parametrize("width", [1, 2])
def test_few_fields_are_explained_too(width: int) -> None:
    rng = np.random.default_rng(0)
    guard = OutlierGuard.fit(
        rng.normal(size=(500, width)), rng.normal(size=(400, width)), OutlierSettings()
    )
    reasons = guard.check(np.full((1, width), 40.0)).reasons[0]

    assert reasons[0].kind == "tail"
    assert [why.feature for why in reasons if why.kind == "repair"]


def test_a_wide_row_is_explained_although_only_its_main_axes_are_kept() -> None:
    """300 columns, of which 128 axes are kept: the rest counts flatly."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(5, 300))

    def images(n: int) -> Rows:
        return rng.normal(size=(n, 5)) @ loadings + 0.5 * rng.normal(size=(n, 300))

    guard = OutlierGuard.fit(images(600), images(400), OutlierSettings())
    row = images(1)
    row[0, 17] += 30
    reasons = guard.check(row).reasons[0]

    assert reasons[0].feature == "column 17"
    assert reasons[0].p is not None


@given(rows=st.integers(10, 60), columns=st.integers(1, 8), seed=st.integers(0, 999))
@settings(max_examples=50)
def test_residuals_are_those_of_the_gaussian_given_the_rest(
    rows: int, columns: int, seed: int
) -> None:
    """The oracle inverts the covariance of the fields that are left."""
    rng = np.random.default_rng(seed)
    standard = rng.normal(size=(rows, columns)) @ rng.normal(size=(columns, columns))
    scales = Scales.fit(standard)
    basis = Basis.fit(scales.standardise(standard))
    suspicion = Suspicion.of(
        scales,
        basis,
        Extremes.of(standard),
        alpha=0.01,
    )
    z = 3 * rng.normal(size=columns)
    blame = suspicion.blame(z)
    covariance = basis.axes @ np.diag(basis.variances) @ basis.axes.T
    left = np.setdiff1d(np.arange(columns), blame.fields)
    if not len(blame.fields) or not len(left):
        return
    gain = covariance[np.ix_(blame.fields, left)] @ np.linalg.inv(covariance[np.ix_(left, left)])
    spread = (
        covariance[np.ix_(blame.fields, blame.fields)]
        - gain @ covariance[np.ix_(left, blame.fields)]
    )

    np.testing.assert_allclose(blame.expected, gain @ z[left], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(blame.width, np.sqrt(np.diag(spread)), rtol=1e-6)


def blamed(guard: OutlierGuard, row: Rows) -> list[str]:
    """The fields of the reasons, the first first."""
    return [reason.feature for reason in guard.check(row).reasons[0]]


def test_a_field_that_never_moved_is_to_blame_when_it_moves() -> None:
    """Its spread is nought: neither divided by, nor left out."""
    reference, held_out = rows_of(600, seed=0), rows_of(400, seed=1)
    reference[:, 4] = held_out[:, 4] = 7.0
    names = [f"f{column}" for column in range(D)]
    guard = OutlierGuard.fit(reference, held_out, DEFAULT, feature_names=names)
    row = rows_of(1, seed=2)
    row[0, 4] = 8.0

    first = guard.check(row).reasons[0][0]

    assert (first.feature, first.observed) == ("f4", 8.0)
    assert "nan" not in first.expected


def test_fields_that_repeat_each_other_are_explained() -> None:
    """Their covariance has no inverse."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(1000, 2))
    rows = np.column_stack([hidden, hidden[:, 0], hidden[:, 0] + hidden[:, 1]])
    guard = OutlierGuard.fit(rows[:600], rows[600:], DEFAULT)
    row = rows[:1].copy()
    row[0, 2] += 9

    assert blamed(guard, row)[0] == "column 2"
    assert all(np.isfinite(r.p) for r in guard.check(row).reasons[0] if r.p is not None)


def test_a_common_value_of_a_discrete_field_is_never_blamed() -> None:
    """A value that nine in ten rows share lies at an end of its range, and at neither tail."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1500, 4))
    rows[:, 1] = rng.uniform(size=1500) < 0.1
    guard = OutlierGuard.fit(rows[:1000], rows[1000:], DEFAULT)

    for value in (0.0, 1.0):
        reasons = guard.check(np.array([[9.0, value, 0.0, 0.0]])).reasons[0]
        assert reasons[0].feature == "column 0"
        assert "column 1" not in {r.feature for r in reasons if r.kind in ("tail", "conditional")}


def test_fields_far_from_zero_are_explained_as_they_are_near_it() -> None:
    """A million spreads away, in float32 as the wire has them: no digits may cancel."""
    far = 2.0**20  # exact in float32 beside whole steps of 2^-3
    near_rows = np.rint(8 * rows_of(1000, seed=0) / np.logspace(0, 3, D)) / 8
    row = near_rows[:1].copy()
    row[0, 3] += 40
    told = []
    for shift in (0.0, far):
        rows = (near_rows + shift).astype(np.float32)
        guard = OutlierGuard.fit(rows[:600], rows[600:], DEFAULT)
        told.append(guard.check((row + shift).astype(np.float32)).reasons[0])

    near, away = told
    assert [(r.feature, r.kind, r.p is None) for r in away] == [
        (r.feature, r.kind, r.p is None) for r in near
    ]
    for here, there in zip(near, away, strict=True):
        assert (there.p or 0) == pytest.approx(here.p or 0, rel=1e-6)
