"""Whole numbers below a million in English and in French words, exactly.

French in the traditional orthography: hyphens only between parts below 100 that no ``et`` joins
(``quatre-vingt-dix-sept``, ``vingt et un``), ``vingts`` and ``cents`` only where nothing follows
them, not even ``mille``, which never changes.

Source: Grevisse, "Le Bon Usage", on numerals; the rectifications of 1990 are not applied.
"""

LIMIT = 1_000_000  # numbers are below it

_ENGLISH_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
_ENGLISH_TENS = (
    "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
)  # fmt: skip
_FRENCH_SMALL = (
    "zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix",
    "onze", "douze", "treize", "quatorze", "quinze", "seize", "dix-sept", "dix-huit", "dix-neuf",
)  # fmt: skip
_FRENCH_TENS = ("", "", "vingt", "trente", "quarante", "cinquante", "soixante")


def spell_english(number: int) -> str:
    """Write a number as in ``three hundred and forty-two``.

    Raises:
        ValueError: it is negative, or `LIMIT` or more.
    """
    _check(number)
    thousands, rest = divmod(number, 1000)
    if not thousands:
        return _english_below_1000(rest)
    parts = [_english_below_1000(thousands), "thousand"]
    if rest:
        parts += ["and"] * (rest < 100) + [_english_below_1000(rest)]
    return " ".join(parts)


def spell_french(number: int) -> str:
    """Write a number as in ``trois cent quarante-deux``.

    Raises:
        ValueError: it is negative, or `LIMIT` or more.
    """
    _check(number)
    thousands, rest = divmod(number, 1000)
    if not thousands:
        return _french_below_1000(rest, is_last=True)
    parts = [] if thousands == 1 else [_french_below_1000(thousands, is_last=False)]
    parts.append("mille")
    if rest:
        parts.append(_french_below_1000(rest, is_last=True))
    return " ".join(parts)


def _check(number: int) -> None:
    if not 0 <= number < LIMIT:
        raise ValueError(f"only numbers from 0 to {LIMIT - 1} are spelt")


def _english_below_1000(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    if not hundreds:
        return _english_below_100(rest)
    words = f"{_ENGLISH_SMALL[hundreds]} hundred"
    return f"{words} and {_english_below_100(rest)}" if rest else words


def _english_below_100(number: int) -> str:
    if number < 20:
        return _ENGLISH_SMALL[number]
    tens, ones = divmod(number, 10)
    return _ENGLISH_TENS[tens] + (f"-{_ENGLISH_SMALL[ones]}" if ones else "")


def _french_below_1000(number: int, *, is_last: bool) -> str:
    """Spell a group; ``is_last`` is false where ``mille`` follows it."""
    hundreds, rest = divmod(number, 100)
    if not hundreds:
        return _french_below_100(rest, is_last=is_last)
    words = "cent" if hundreds == 1 else f"{_FRENCH_SMALL[hundreds]} cent"
    if rest:
        return f"{words} {_french_below_100(rest, is_last=is_last)}"
    return words + "s" if hundreds > 1 and is_last else words


def _french_below_100(number: int, *, is_last: bool) -> str:
    if number < 20:
        return _FRENCH_SMALL[number]
    if number == 80:
        return "quatre-vingts" if is_last else "quatre-vingt"
    if number > 80:  # four twenties and up to nineteen
        return f"quatre-vingt-{_FRENCH_SMALL[number - 80]}"
    tens = min(number // 10, 6)  # seventy is sixty and ten
    rest = number - 10 * tens
    if not rest:
        return _FRENCH_TENS[tens]
    joint = " et " if rest in (1, 11) else "-"
    return f"{_FRENCH_TENS[tens]}{joint}{_FRENCH_SMALL[rest]}"
