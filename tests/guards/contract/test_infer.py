"""A contract read off rows lets those rows, and their like, through."""

import numpy as np
import pytest

from guards.contract.feature import Feature, TextLimits
from guards.contract.infer import infer_features, infer_image, infer_text
from guards.contract.text import text_faults
from guards.schema import SchemaGuard, SchemaSettings


def objects(values: list[bytes]) -> np.ndarray:
    return np.array([*values, None], object)[:-1, None]


def test_kinds_are_told_where_there_are_rows_enough() -> None:
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(0, 2, 200), rng.integers(0, 90, 200), rng.normal(size=200)], 1)

    many = infer_features(rows, ["flag", "age", "weight"])
    few = infer_features(rows[:20], ["flag", "age", "weight"])

    assert [feature.kind for feature in many] == ["boolean", "integer", "number"]
    assert [feature.kind for feature in few] == ["number", "number", "number"]
    assert many[1].default == np.quantile(rows[:, 1], 0.5, method="closest_observation")


def test_constant_and_all_missing_columns_are_described() -> None:
    rows = np.array([[7.0, np.nan]] * 200)

    constant, gone = infer_features(rows, ["constant", "gone"])

    assert (constant.low, constant.high, constant.missing) == (7.0, 7.0, False)
    assert gone == Feature(name="gone", missing=True)
    assert not SchemaGuard(SchemaSettings(features=(constant, gone))).check(rows).reasons


def test_few_words_seen_often_are_categories() -> None:
    job = infer_text("job", objects([b"clerk", b"smith", b"clerk"] * 20))

    assert job == Feature(name="job", categories=("clerk", "smith"), default="clerk")


def test_varied_texts_get_limits_that_they_keep() -> None:
    rng = np.random.default_rng(0)
    words = ["alpha", "beta", "gamma", "delta", "omega"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 6))).encode() for _ in range(300)]

    found = infer_text("t", objects(texts))

    assert found is not None
    assert found.text is not None
    assert found.text.scripts == ("LATIN",)
    assert not [fault for text in texts for fault in text_faults(text, found)]
    assert [kind for kind, _ in text_faults("альфа бета".encode(), found)] == ["script"]


def test_an_empty_text_in_the_reference_makes_missing_a_value() -> None:
    found = infer_text("t", objects([b"some", b"", b"words"]))

    assert found is not None
    assert found.missing
    assert infer_text("t", objects([b"", b""])) == Feature(name="t", kind="text", missing=True)


def test_bytes_that_are_no_text_are_not_described() -> None:
    assert infer_text("photo", objects([b"\xff\xd8\xff", b"\xff\xd8"])) is None


def test_an_image_is_asked_for_half_of_the_least_contrast_seen() -> None:
    images = np.array([[0.0, 4.0, 16.0], [0.0, 0.0, 8.0]])

    found = infer_image("image", images)

    assert (found.kind, found.count, found.contrast) == ("image", 3, 4.0)
    judge = SchemaGuard(SchemaSettings(features=(found,)))
    dark = judge.check(np.array([[5.0, 5.0, 5.0], [0.0, 4.0, 16.0]]))
    assert dark.actions.tolist() == [1, 0]
    assert [reason.kind for reason in dark.reasons[0]] == ["contrast"]
    assert infer_image("image", np.array([[1.0, 1.0]])).contrast is None


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_limits_of_texts_widen_with_the_margin(margin: float) -> None:
    found = infer_text("t", objects([b"ab", b"abcdef"]), margin=margin)

    assert found is not None
    assert found.text == TextLimits(
        shortest=2 if margin == 0 else 1,
        longest=7 if margin == 0 else 9,
        scripts=("LATIN",),
        repetition=margin,
    )
