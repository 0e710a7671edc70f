"""Rules between fields say what they mean, and say nothing about what is missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from guards.contract.feature import Feature
from guards.contract.rules import RowRule, Rule
from guards.schema import SchemaSettings

COLUMNS = {"a": 0, "b": 1, "c": 2}
NAN = float("nan")


def rule(**fields: object) -> Rule:
    return Rule.model_validate(fields)


def broken(found: Rule, *rows: list[float], jobs: list[bytes] | None = None) -> list[bool]:
    texts = {"job": np.array([[job] for job in jobs or [b""] * len(rows)], object)}
    array = np.array(rows, np.float32)
    return RowRule(found, COLUMNS, ["job"]).broken(array, texts).tolist()


@pytest.mark.parametrize(
    ("relation", "less", "equal", "more"),
    [
        ("<", False, True, True),
        ("<=", False, False, True),
        ("==", True, False, True),
        ("!=", False, True, False),
        (">=", True, False, False),
        (">", True, True, False),
    ],
)
def test_a_comparison_is_broken_where_it_does_not_hold(
    relation: str, less: bool, equal: bool, more: bool
) -> None:
    rows = [1.0, 2.0, 0.0], [2.0, 2.0, 0.0], [3.0, 2.0, 0.0]

    assert broken(rule(left="a", **{"is": relation}, right="b"), *rows) == [less, equal, more]
    assert broken(rule(left="a", **{"is": relation}, value=2), *rows) == [less, equal, more]


@given(
    a=st.floats(-100, 100, width=32),
    b=st.floats(-100, 100, width=32),
    total=st.floats(-100, 100, width=32),
    tolerance=st.floats(0, 10),
)
def test_a_sum_may_miss_its_total_by_the_tolerance_and_no_more(
    a: float, b: float, total: float, tolerance: float
) -> None:
    found = rule(left=("a", "b"), **{"is": "=="}, right="c", tolerance=tolerance)

    assert broken(found, [a, b, total]) == [abs(a + b - total) > tolerance]


def test_a_comparison_with_a_missing_field_breaks_nothing() -> None:
    rows = [NAN, 1.0, 0.0], [2.0, NAN, 0.0]

    assert broken(rule(left="a", **{"is": "<"}, right="b"), *rows) == [False, False]


def test_a_rule_holds_only_where_its_condition_does() -> None:
    found = rule(left="b", **{"is": "present"}, when={"left": "a", "is": "==", "value": 1})

    rows = [1.0, NAN, 0.0], [1.0, 5.0, 0.0], [0.0, NAN, 0.0], [NAN, NAN, 0.0]
    assert broken(found, *rows) == [True, False, False, False]


def test_a_text_can_be_the_condition_and_the_rule() -> None:
    when = rule(left="a", **{"is": ">"}, value=0, when={"left": "job", "is": "==", "value": "x"})
    same = rule(left="job", **{"is": "!="}, value="x")
    there = rule(left="job", **{"is": "present"})
    rows, jobs = [[0.0, 0, 0]] * 3, [b"x", b"y", b""]

    assert broken(when, *rows, jobs=jobs) == [True, False, False]
    assert broken(same, *rows, jobs=jobs) == [True, False, False]
    assert broken(there, *rows, jobs=jobs) == [False, False, True]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"left": "a", "is": "<"}, "takes right or value"),
        ({"left": "a", "is": "<", "right": "b", "value": 1}, "takes right or value"),
        ({"left": "a", "is": "present", "value": 1}, "takes right or value"),
        ({"left": "a", "is": "<", "value": "x"}, "can only be == or !="),
        ({"left": (), "is": "<", "value": 1}, "name at least one field"),
        ({"left": "a", "is": "=~", "value": 1}, "Input should be"),
        ({"left": "a", "is": "<", "value": 1, "eval": "x"}, "Extra inputs"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Rule.model_validate(fields)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"left": "age", "is": "<", "right": "agee"}, r"names no single column: \['agee'\]"),
        ({"left": "pixels", "is": "<", "value": 1}, r"names no single column: \['pixels'\]"),
        ({"left": "age", "is": "==", "value": "old"}, "compares numbers with a text"),
        ({"left": "job", "is": "<", "value": 1}, "does arithmetic with texts"),
        (
            {"left": "age", "is": "<", "value": 1, "when": {"left": "jobb", "is": "present"}},
            "names no single column",
        ),
    ],
)
def test_a_rule_of_fields_that_are_not_there_is_refused(
    fields: dict[str, object], sentence: str
) -> None:
    features = (
        Feature(name="age"),
        Feature(name="pixels", count=4),
        Feature(name="job", kind="text"),
    )

    with pytest.raises(ValidationError, match=sentence):
        SchemaSettings(features=features, rules=(Rule.model_validate(fields),))


def test_a_rule_reads_as_people_write_it() -> None:
    found = rule(
        left=("a", "b"), **{"is": "<="}, right="c", when={"left": "job", "is": "==", "value": "x"}
    )

    assert str(found) == "a + b <= c where job == x"
