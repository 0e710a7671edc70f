"""A feature that could hold nothing, or that contradicts itself, is refused with a sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from guards.contract.feature import Feature, TextLimits, there
from guards.schema import OnViolation, SchemaSettings


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"low": 2, "high": 1}, "low 2 lies above high 1"),
        ({"categories": ()}, "must not be empty"),
        ({"kind": "category"}, "a category lists its categories"),
        ({"kind": "integer", "categories": (1,)}, "a category lists its categories"),
        ({"kind": "boolean", "low": 0}, "a boolean has no range"),
        ({"kind": "text", "high": 9}, "a text has no range"),
        ({"contrast": 1.0}, "only an image has a contrast"),
        ({"text": {"longest": 3}}, "only a text has limits"),
        ({"kind": "text", "text": {"shortest": 4, "longest": 3}}, "shortest 4 is longer"),
        ({"kind": "text", "default": 1.0}, "the default is text where the values are"),
        ({"default": "a"}, "the default is text where the values are"),
        ({"high": 5, "default": 6}, "the default 6.0 breaks the contract itself"),
        ({"kind": "integer", "default": 0.5}, "breaks the contract itself"),
        ({"kind": "boolean", "default": 2}, "breaks the contract itself"),
        ({"categories": ("a", "b"), "default": "c"}, "breaks the contract itself"),
        ({"environments": ()}, "environments"),
    ],
)
def test_a_feature_that_contradicts_itself_is_refused(
    fields: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Feature.model_validate({"name": "x"} | fields)


def test_listed_categories_make_a_category_and_words_make_it_a_text() -> None:
    numbers, words = Feature(name="x", categories=(1, 2)), Feature(name="x", categories=("1", "2"))

    assert (numbers.kind, numbers.is_text) == ("category", False)
    assert (words.kind, words.is_text) == ("category", True)


def test_what_is_only_there_in_training_is_not_asked_of_a_request() -> None:
    label = Feature(name="label", environments=("training",))
    age = Feature(name="age")

    assert there((age, label), "serving") == (age,)


def test_two_features_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"same name: \['a'\]"):
        SchemaSettings(features=(Feature(name="a"), Feature(name="a")))


@pytest.mark.parametrize(
    ("kind", "feature"),
    [
        ("missing", Feature(name="x")),
        ("nonfinite", Feature(name="x", missing=True)),
        ("range", Feature(name="x", low=0)),
        ("category", Feature(name="x", categories=(1.0,))),
        ("category", Feature(name="x", categories=("a",))),
        ("type", Feature(name="x", kind="integer")),
        ("text", Feature(name="x", kind="text", text=TextLimits(longest=3))),
    ],
)
def test_what_is_to_be_imputed_needs_a_default(kind: str, feature: Feature) -> None:
    on = OnViolation.model_validate({kind: "impute"})

    with pytest.raises(ValidationError, match=f"x has no default, and {kind} is to be imputed"):
        SchemaSettings(features=(feature,), on_violation=on)


def test_what_cannot_be_broken_needs_no_default() -> None:
    on = OnViolation(missing="impute", range="impute", category="impute", type="impute")

    SchemaSettings(features=(Feature(name="x", missing=True),), on_violation=on)


names = st.text("abcdefgh", min_size=1, max_size=6)
numbers = st.floats(-1e9, 1e9)
features = st.one_of(
    st.builds(
        lambda name, ends, missing, unit: Feature(
            name=name, low=min(ends), high=max(ends), missing=missing, unit=unit, default=min(ends)
        ),
        names,
        st.tuples(numbers, numbers),
        st.booleans(),
        st.text(max_size=5),
    ),
    st.builds(
        lambda name, values: Feature(name=name, categories=tuple(values)),
        names,
        st.lists(numbers, min_size=1, max_size=4) | st.lists(st.text(), min_size=1, max_size=4),
    ),
    st.builds(
        lambda name, longest, scripts: Feature(
            name=name, kind="text", text=TextLimits(longest=longest, scripts=scripts)
        ),
        names,
        st.none() | st.integers(0, 999),
        st.none() | st.just(("LATIN", "GREEK")),
    ),
)


@given(found=st.lists(features, max_size=5, unique_by=lambda feature: feature.name))
def test_a_contract_comes_back_from_json_as_it_was(found: list[Feature]) -> None:
    settings = SchemaSettings(features=tuple(found))

    assert SchemaSettings.model_validate_json(settings.model_dump_json()) == settings
