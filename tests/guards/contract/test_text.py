"""Texts are judged from outside: length, script, repetition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.contract.feature import Feature, TextLimits
from guards.contract.text import MAX_SHOWN, repetition, scripts_of, shown, text_faults

LIMITS = TextLimits(shortest=3, longest=40, scripts=("LATIN",), repetition=0.5)
TEXT = Feature(name="t", kind="text", text=LIMITS)


def kinds(value: bytes, feature: Feature = TEXT) -> list[str]:
    return [kind for kind, _ in text_faults(value, feature)]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"three hundred and forty-two", []),
        ("déjà vu, señor".encode(), []),
        (b"", ["length"]),
        (b"ab", ["length"]),
        (b"abcdefghij klmnopqrstu vwxyz ABCDEFGH IJKL", ["length"]),
        ("привет мир".encode(), ["script"]),
        ("latin и".encode(), []),  # one letter of another script in six
        (b"12345 67890", []),  # of no script at all
        (b"spam spam spam spam spam", ["repetition"]),
        (b"a" * 39, ["repetition"]),
        (b"a" * 400, ["length", "repetition"]),
        (b"\xff\xfe", ["type"]),
    ],
)
def test_what_is_wrong_with_a_text_is_named(value: bytes, found: list[str]) -> None:
    assert kinds(value) == found


def test_a_word_that_is_no_category_is_found_and_an_empty_one_is_missing() -> None:
    job = Feature(name="job", categories=("clerk", "smith"))

    assert kinds(b"clerk", job) == []
    assert kinds(b"clark", job) == ["category"]
    assert kinds(b"", job) == ["missing"]
    assert kinds(b"", job.model_copy(update={"missing": True})) == []


def test_an_empty_text_is_a_text_where_no_length_is_asked_for() -> None:
    assert kinds(b"", Feature(name="t", kind="text")) == []
    assert kinds(b"", TEXT.model_copy(update={"missing": True})) == []


@given(value=st.binary(max_size=200))
def test_any_bytes_are_judged_and_never_fail(value: bytes) -> None:
    for kind, expected in text_faults(value, TEXT):
        assert kind
        assert expected


@given(text=st.text(max_size=60))
def test_shares_are_shares(text: str) -> None:
    assert 0 <= repetition(text) < 1
    assert scripts_of(text).total() == sum(character.isalpha() for character in text)


def test_a_reason_quotes_only_the_beginning_of_a_long_text() -> None:
    assert len(shown(b"x" * 10_000)) == MAX_SHOWN
    assert shown("ü".encode() * 10) == "ü" * 10
