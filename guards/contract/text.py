"""What is wrong with a text, seen from outside: its length, its scripts, its repetition."""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from guards.contract.feature import Feature, TextLimits

TRIPLE = 3
LEAST_TRIPLES = 16  # a shorter text repeats itself by chance
MAX_SHOWN = 80  # characters of a text in a reason


def text_faults(value: bytes, feature: Feature) -> Iterator[tuple[str, str]]:
    """Give the kind of each violation, and what was expected instead.

    An empty word is missing; an empty text of any other kind is a text, of length 0.
    """
    if not value and feature.missing:
        return
    if feature.categories is not None:
        if not value:
            yield "missing", "a text"
            return
        known = feature.categories
        if not any(str(category).encode() == value for category in known):
            yield "category", "one of " + ", ".join(str(category) for category in known[:8])
        return
    try:
        text = value.decode()
    except UnicodeDecodeError:
        yield "type", "UTF-8"
        return
    yield from _limit_faults(text, feature.text or TextLimits())


def _limit_faults(text: str, limits: TextLimits) -> Iterator[tuple[str, str]]:
    if len(text) < limits.shortest:
        yield "length", f"at least {limits.shortest} characters"
    if limits.longest is not None and len(text) > limits.longest:
        yield "length", f"at most {limits.longest} characters"
        text = text[: limits.longest]  # what follows costs time, and it is judged already
    if limits.scripts is not None:
        share = 1 - _share(scripts_of(text), limits.scripts)
        if share > limits.foreign:
            wanted = ", ".join(limits.scripts)
            yield "script", f"at most {limits.foreign:.0%} of the letters in another than {wanted}"
    if limits.repetition < 1 and repetition(text) > limits.repetition:
        yield "repetition", f"at most {limits.repetition:.0%} of it repeated"


def scripts_of(text: str) -> Counter[str]:
    """Count the letters of each script, by the first word of their names in Unicode."""
    scripts = Counter[str]()
    for character, count in Counter(text).items():
        if script := _script(character):
            scripts[script] += count
    return scripts


def repetition(text: str) -> float:
    """Give the share of character triples that occurred before in the text; 0 of a short one."""
    triples = len(text) - TRIPLE + 1
    if triples < LEAST_TRIPLES:
        return 0.0
    return 1 - len({text[at : at + TRIPLE] for at in range(triples)}) / triples


def shown(value: bytes) -> str:
    """Cut a text to what a reason may quote."""
    text = value[: 4 * MAX_SHOWN].decode(errors="replace")
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    """Name the script of a letter; no script for anything else."""
    if not character.isalpha():
        return ""
    return unicodedata.name(character, "UNKNOWN").split()[0].split("-")[0]


def _share(scripts: Counter[str], wanted: tuple[str, ...]) -> float:
    letters = scripts.total()
    return sum(scripts[script] for script in wanted) / letters if letters else 1.0
