"""What keyboards, cut-off fields, encodings and spammers do to text, in three severities.

Source: Ribeiro, Wu, Guestrin, Singh (2020), "Beyond accuracy: behavioral testing of NLP models with
CheckList", ACL, for typos and case; Boucher, Shumailov, Anderson, Papernot (2022), "Bad characters:
imperceptible NLP attacks", IEEE S&P, for homoglyphs.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

TextCorruption = Callable[[str, np.random.Generator, int], str]
"""Spoils one text; severity 0, 1 or 2."""

SEVERITIES = range(3)

MISTYPED = (0.03, 0.1, 0.3)  # share of the characters, at least one
KEPT = (0.75, 0.5, 0.15)  # share of the characters, at least one
REPLACED = (0.1, 0.4, 1.0)  # share of the letters that have a double, at least one
REPEATED = (4, 16, 64)  # times

LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Cyrillic letters that look like Latin ones.
HOMOGLYPHS = dict(zip("acehijopsxyABCEHIKMOPSTXY", "асеһіјорѕхуАВСЕНІКМОРЅТХУ", strict=True))


def typos(text: str, rng: np.random.Generator, severity: int) -> str:
    """Swap, drop, double or replace characters."""
    characters = list(text)
    for at in _some(range(len(text)), MISTYPED[severity], rng):
        slip = rng.integers(0, 4)
        if slip == 0 and at + 1 < len(text) and text[at] != text[at + 1]:
            characters[at], characters[at + 1] = characters[at + 1], characters[at]
        elif slip == 1:
            characters[at] = ""
        elif slip == 2:
            characters[at] = text[at] * 2
        else:
            characters[at] = str(rng.choice([c for c in LETTERS if c != text[at]]))
    return "".join(characters)


def case(text: str, rng: np.random.Generator, severity: int) -> str:
    """Swap the case of the first letter, of all letters, or of every other at random."""
    if severity == 0:
        return text[:1].swapcase() + text[1:]
    if severity == 1:
        return text.swapcase()
    return "".join(c.swapcase() if rng.random() < 0.5 else c for c in text)


def truncation(text: str, rng: np.random.Generator, severity: int) -> str:
    """Keep the beginning only: a field too short."""
    del rng
    return text[: max(1, int(len(text) * KEPT[severity]))] if len(text) > 1 else ""


def homoglyphs(text: str, rng: np.random.Generator, severity: int) -> str:
    """Write letters of another script that look the same."""
    characters = list(text)
    doubled = [at for at, character in enumerate(text) if character in HOMOGLYPHS]
    for at in _some(doubled, REPLACED[severity], rng):
        characters[at] = HOMOGLYPHS[text[at]]
    return "".join(characters)


def repetition(text: str, rng: np.random.Generator, severity: int) -> str:
    """Say one of the words over and over."""
    words = text.split() or [text]
    word = words[int(rng.integers(0, len(words)))]
    return " ".join([text, *[word] * REPEATED[severity]])


TEXT_CORRUPTIONS: Mapping[str, TextCorruption] = {
    "typos": typos,
    "case": case,
    "truncation": truncation,
    "homoglyphs": homoglyphs,
    "repetition": repetition,
}


def corrupt_texts(
    texts: Sequence[str], rng: np.random.Generator, *, kind: str, severity: int
) -> list[str]:
    """Spoil each text in one way."""
    corruption = TEXT_CORRUPTIONS[kind]
    return [corruption(text, rng, severity) for text in texts]


def _some(places: Sequence[int], share: float, rng: np.random.Generator) -> list[int]:
    """Draw a share of the places, at least one if there is one, in their order."""
    if not places:
        return []
    count = max(1, round(share * len(places)))
    return sorted(int(at) for at in rng.choice(np.asarray(places), count, replace=False))
