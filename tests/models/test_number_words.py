"""Spelling numbers, against a table of the hard cases."""

from collections.abc import Callable

import pytest

from models.examples.number_words import LIMIT, spell_english, spell_french

FRENCH = {
    0: "zéro",
    1: "un",
    16: "seize",
    17: "dix-sept",
    20: "vingt",
    21: "vingt et un",
    22: "vingt-deux",
    31: "trente et un",
    42: "quarante-deux",
    61: "soixante et un",
    69: "soixante-neuf",
    70: "soixante-dix",
    71: "soixante et onze",
    72: "soixante-douze",
    77: "soixante-dix-sept",
    79: "soixante-dix-neuf",
    80: "quatre-vingts",
    81: "quatre-vingt-un",
    88: "quatre-vingt-huit",
    90: "quatre-vingt-dix",
    91: "quatre-vingt-onze",
    97: "quatre-vingt-dix-sept",
    99: "quatre-vingt-dix-neuf",
    100: "cent",
    101: "cent un",
    121: "cent vingt et un",
    180: "cent quatre-vingts",
    181: "cent quatre-vingt-un",
    200: "deux cents",
    201: "deux cent un",
    280: "deux cent quatre-vingts",
    342: "trois cent quarante-deux",
    380: "trois cent quatre-vingts",
    999: "neuf cent quatre-vingt-dix-neuf",
    1_000: "mille",
    1_001: "mille un",
    1_071: "mille soixante et onze",
    1_080: "mille quatre-vingts",
    1_100: "mille cent",
    1_200: "mille deux cents",
    2_000: "deux mille",
    2_200: "deux mille deux cents",
    21_000: "vingt et un mille",
    71_000: "soixante et onze mille",
    80_000: "quatre-vingt mille",
    80_080: "quatre-vingt mille quatre-vingts",
    81_000: "quatre-vingt-un mille",
    100_000: "cent mille",
    101_000: "cent un mille",
    180_000: "cent quatre-vingt mille",
    200_000: "deux cent mille",
    200_200: "deux cent mille deux cents",
    280_000: "deux cent quatre-vingt mille",
    280_280: "deux cent quatre-vingt mille deux cent quatre-vingts",
    999_999: "neuf cent quatre-vingt-dix-neuf mille neuf cent quatre-vingt-dix-neuf",
}
ENGLISH = {
    0: "zero",
    13: "thirteen",
    40: "forty",
    99: "ninety-nine",
    100: "one hundred",
    101: "one hundred and one",
    342: "three hundred and forty-two",
    1_000: "one thousand",
    1_001: "one thousand and one",
    1_100: "one thousand one hundred",
    80_000: "eighty thousand",
    999_999: "nine hundred and ninety-nine thousand nine hundred and ninety-nine",
}


@pytest.mark.parametrize(("number", "words"), FRENCH.items())
def test_french_is_spelt_as_the_table_says(number: int, words: str) -> None:
    assert spell_french(number) == words


@pytest.mark.parametrize(("number", "words"), ENGLISH.items())
def test_english_is_spelt_as_the_table_says(number: int, words: str) -> None:
    assert spell_english(number) == words


@pytest.mark.parametrize("spell", [spell_english, spell_french])
def test_no_two_numbers_are_spelt_alike(spell: Callable[[int], str]) -> None:
    numbers = [*range(10_000), *range(10_000, LIMIT, 997)]

    assert len({spell(number) for number in numbers}) == len(numbers)


@pytest.mark.parametrize("number", [-1, LIMIT])
def test_a_number_out_of_range_is_not_spelt(number: int) -> None:
    with pytest.raises(ValueError, match="from 0 to 999999"):
        spell_french(number)
    with pytest.raises(ValueError, match="from 0 to 999999"):
        spell_english(number)
