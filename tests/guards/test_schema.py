"""Rows against their contract, contracts against each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from sklearn.datasets import load_breast_cancer, load_wine

from guards.contract.diff import diff
from guards.contract.feature import Feature
from guards.contract.infer import infer_features
from guards.schema import OnViolation, SchemaGuard, SchemaSettings
from guards.verdict import Action, Rows

FEATURES = (
    Feature(name="age", low=0, high=120),
    Feature(name="sex", categories=(0, 1)),
    Feature(name="income", low=0, missing=True),
    Feature(name="pixels", count=3, low=0, high=16),
)
GOOD = [40.0, 1.0, 1000.0, 0.0, 8.0, 16.0]


def guard(**actions: str) -> SchemaGuard:
    return SchemaGuard(
        SchemaSettings(features=FEATURES, on_violation=OnViolation.model_validate(actions))
    )


def with_value(column: int, value: float) -> Rows:
    return np.array([[*GOOD[:column], value, *GOOD[column + 1 :]]])


@pytest.mark.parametrize(
    ("column", "value", "kind", "feature", "action"),
    [
        (0, np.nan, "missing", "age", Action.REJECT),
        (1, np.nan, "missing", "sex", Action.REJECT),
        (0, np.inf, "nonfinite", "age", Action.REJECT),
        (2, np.inf, "nonfinite", "income", Action.REJECT),
        (1, -np.inf, "nonfinite", "sex", Action.REJECT),
        (0, -0.5, "range", "age", Action.FLAG),
        (0, 120.5, "range", "age", Action.FLAG),
        (1, 2.0, "category", "sex", Action.FLAG),
        (5, 16.5, "range", "pixels[2]", Action.FLAG),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_violation_has_its_kind_its_feature_and_its_action(
    column: int,
    value: float,
    kind: str,
    feature: str,
    action: Action,
    dtype: type[np.floating],
) -> None:
    verdict = guard().check(with_value(column, value).astype(dtype))

    (reason,) = verdict.reasons[0]
    assert (reason.kind, reason.feature) == (kind, feature)
    assert verdict.actions.tolist() == [action]


@pytest.mark.parametrize(("column", "value"), [(2, np.nan), (2, 1e300), (0, 0.0), (0, 120.0)])
def test_what_the_contract_allows_is_allowed(column: int, value: float) -> None:
    verdict = guard().check(with_value(column, value))

    assert verdict.actions.tolist() == [Action.ALLOW]
    assert verdict.reasons == {}


def test_the_gravest_violation_of_a_row_decides() -> None:
    rows = with_value(0, 999.0)
    rows[0, 1] = np.nan

    verdict = guard(missing="fallback", range="flag").check(rows)

    assert verdict.actions.tolist() == [Action.FALLBACK]
    assert [reason.kind for reason in verdict.reasons[0]] == ["range", "missing"]


def test_reasons_say_what_was_expected() -> None:
    verdict = guard().check(np.array([[999.0, 7.0, -1.0, 0.0, 0.0, 0.0]]))

    assert [reason.expected for reason in verdict.reasons[0]] == [
        "0 to 120",
        "one of 0, 1",
        "0 to ∞",
    ]


def test_whole_numbers_are_read_as_numbers() -> None:
    rows = np.array([[40, 1, 1000, 0, 8, 16], [40, 2, 1000, 0, 8, 16]])

    assert guard().check(rows).actions.tolist() == [Action.ALLOW, Action.FLAG]


def test_limits_are_rounded_like_the_values_they_judge() -> None:
    """As a float32, 0.1 is larger than 0.1, and 0.3 is no multiple of anything."""
    features = (Feature(name="low", low=0.1, high=0.1), Feature(name="kind", categories=(0.3,)))
    rows = np.array([[0.1, 0.3]])
    judge = SchemaGuard(SchemaSettings(features=features))

    assert judge.check(rows.astype(np.float32)).actions.tolist() == [Action.ALLOW]
    assert judge.check(rows).actions.tolist() == [Action.ALLOW]


def test_without_features_any_width_passes_but_only_finite_values_do() -> None:
    judge = SchemaGuard(SchemaSettings())
    rows = np.array([[1e30, -1e30], [np.nan, 0.0], [0.0, np.inf]])
    verdict = judge.check(rows)

    assert verdict.actions.tolist() == [Action.ALLOW, Action.REJECT, Action.REJECT]
    assert [verdict.reasons[row][0].kind for row in (1, 2)] == ["missing", "nonfinite"]
    assert verdict.reasons[2][0].feature == "column 1"
    assert judge.check(np.zeros((2, 17))).actions.tolist() == [0, 0]


numbers = hnp.arrays(
    np.float64,
    st.tuples(st.integers(0, 6), st.just(len(GOOD))),
    elements=st.sampled_from(
        [-1.0, 0.0, 0.5, 1.0, 2.0, 16.0, 17.0, 121.0, np.nan, np.inf, -np.inf]
    ),
)


@given(rows=numbers)
def test_the_array_program_agrees_with_a_loop_over_values(rows: Rows) -> None:
    verdict = guard().check(rows)
    columns = [feature for feature in FEATURES for _ in range(feature.count)]

    for at, row in enumerate(rows):
        kinds = [_kind(float(value), column) for value, column in zip(row, columns, strict=True)]
        found = [kind for kind in kinds if kind]
        assert [reason.kind for reason in verdict.reasons.get(at, ())] == found
        assert (verdict.actions[at] == Action.ALLOW) == (not found)


def _kind(value: float, feature: Feature) -> str | None:
    if np.isnan(value):
        return None if feature.missing else "missing"
    if np.isinf(value):
        return "nonfinite"
    if feature.categories is not None:
        return None if value in feature.categories else "category"
    low = -np.inf if feature.low is None else feature.low
    high = np.inf if feature.high is None else feature.high
    return None if low <= value <= high else "range"


@given(
    rows=hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 20), st.integers(1, 5)),
        elements=st.floats(allow_infinity=False, width=64),
    ),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_the_rows_a_contract_was_inferred_from_satisfy_it(
    rows: Rows, dtype: type[np.floating]
) -> None:
    with np.errstate(over="ignore"):
        rows = rows.astype(dtype)
    rows[np.isinf(rows)] = 0
    for names in ([f"f{column}" for column in range(rows.shape[1])], ["all"]):
        judge = SchemaGuard(SchemaSettings(features=infer_features(rows, names)))

        assert (judge.check(rows).actions == Action.ALLOW).all()


@pytest.mark.parametrize("load", [load_breast_cancer, load_wine])
def test_fresh_ordinary_rows_rarely_violate_an_inferred_contract(load) -> None:  # type: ignore[no-untyped-def]
    flagged = []
    for seed in range(20):
        rows = np.random.default_rng(seed).permutation(load().data)
        half = len(rows) // 2
        names = [f"f{column}" for column in range(rows.shape[1])]
        judge = SchemaGuard(SchemaSettings(features=infer_features(rows[:half], names)))
        flagged.append(np.mean(judge.check(rows[half:]).actions > 0))

    assert np.mean(flagged) <= 0.01


def test_a_column_never_seen_negative_may_not_become_so() -> None:
    (feature,) = infer_features(np.array([[1.0], [9.0]]), ["count"])

    assert (feature.low, feature.high) == (0.0, 13.0)


def test_one_name_describes_the_whole_row() -> None:
    rows = np.array([[0.0, 16.0, np.nan]])

    assert infer_features(rows, ["image"]) == (
        Feature(name="image", count=3, low=0.0, high=24.0, missing=True),
    )


def test_a_feature_that_could_hold_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="low 2 lies above high 1"):
        Feature(name="x", low=2, high=1)
    with pytest.raises(ValidationError, match="must not be empty"):
        Feature(name="x", categories=())


def feature(**changes: object) -> Feature:
    return Feature.model_validate(
        {"name": "age", "low": 0, "high": 120, "categories": None} | changes
    )


@pytest.mark.parametrize(
    ("old", "new", "verdict", "sentence"),
    [
        ([feature()], [feature()], "same", None),
        ([], [], "same", None),
        ([feature()], [feature(high=100)], "compatible", "age: high moved in from 120 to 100"),
        ([feature()], [feature(low=None)], "widened", "age: low moved out from 0 to -inf"),
        ([feature()], [feature(missing=True)], "widened", "age may be missing now"),
        ([feature(missing=True)], [feature()], "breaking", "age may no longer be missing"),
        ([feature()], [feature(), Feature(name="sex")], "breaking", "sex is new"),
        ([feature(), Feature(name="sex")], [feature()], "breaking", "sex is gone"),
        ([feature()], [feature(count=2)], "breaking", "age had 1 columns and has 2"),
        (
            [feature(), Feature(name="sex")],
            [Feature(name="sex"), feature()],
            "breaking",
            "the columns stand in another order",
        ),
        (
            [feature(categories=(0, 1))],
            [feature(categories=(0,))],
            "breaking",
            "age: 1 no longer known",
        ),
        (
            [feature(categories=(0, 1))],
            [feature(categories=(0, 1, 2))],
            "widened",
            "age: 2 known now",
        ),
        ([feature(categories=(0,))], [feature()], "widened", "age: any value is a category now"),
        ([feature()], [feature(categories=(0,))], "breaking", "age: only 0 are categories now"),
        ([], [feature()], "compatible", "columns that nobody had described are described now"),
    ],
)
def test_a_change_of_contract_is_judged_and_said(
    old: list[Feature], new: list[Feature], verdict: str, sentence: str | None
) -> None:
    found = diff(old, new)

    assert found.verdict == verdict
    assert found.sentences == (() if sentence is None else (sentence,))


def test_the_gravest_of_several_changes_is_the_verdict() -> None:
    found = diff([feature()], [feature(low=10, high=130)])

    assert found.verdict == "widened"
    assert len(found.sentences) == 2
