"""Corrupted texts: what a keyboard, a short field or another alphabet makes of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.stress.texts import HOMOGLYPHS, SEVERITIES, TEXT_CORRUPTIONS, corrupt_texts

SENTENCE = "the quick brown fox jumps over the lazy dog"


@pytest.mark.parametrize("kind", TEXT_CORRUPTIONS)
@given(
    texts=st.lists(st.text(max_size=30), max_size=4),
    severity=st.sampled_from(SEVERITIES),
    seed=st.integers(0, 999),
)
def test_any_text_can_be_corrupted_and_the_same_seed_does_it_alike(
    kind: str, texts: list[str], severity: int, seed: int
) -> None:
    once, twice = (
        corrupt_texts(texts, np.random.default_rng(seed), kind=kind, severity=severity)
        for _ in range(2)
    )

    assert once == twice
    assert len(once) == len(texts)
    for text in once:
        text.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("kind", TEXT_CORRUPTIONS)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_sentence_is_changed(kind: str, severity: int) -> None:
    rng = np.random.default_rng(0)
    spoilt = corrupt_texts([SENTENCE] * 50, rng, kind=kind, severity=severity)

    assert all(text != SENTENCE for text in spoilt)


def test_truncation_keeps_the_beginning() -> None:
    for severity, share in enumerate((0.75, 0.5, 0.15)):
        (text,) = corrupt_texts(
            [SENTENCE], np.random.default_rng(0), kind="truncation", severity=severity
        )

        assert SENTENCE.startswith(text)
        assert len(text) == int(share * len(SENTENCE))


def test_homoglyphs_look_alike_and_are_other_characters() -> None:
    back = {there: here for here, there in HOMOGLYPHS.items()}
    (text,) = corrupt_texts([SENTENCE], np.random.default_rng(0), kind="homoglyphs", severity=2)

    assert "".join(back.get(character, character) for character in text) == SENTENCE
    assert not set(text) & set(HOMOGLYPHS)
    assert all(ord(there) > 0x3FF for there in HOMOGLYPHS.values())


def test_case_is_all_that_case_changes() -> None:
    for severity in SEVERITIES:
        (text,) = corrupt_texts(
            [SENTENCE], np.random.default_rng(0), kind="case", severity=severity
        )

        assert text.lower() == SENTENCE


def test_repetition_says_a_word_of_the_text_again_and_again() -> None:
    (text,) = corrupt_texts([SENTENCE], np.random.default_rng(0), kind="repetition", severity=1)
    said = text.removeprefix(SENTENCE).split()

    assert len(said) == 16
    assert len(set(said)) == 1
    assert said[0] in SENTENCE.split()


def test_typos_grow_with_severity() -> None:
    def changed(severity: int) -> float:
        rng = np.random.default_rng(0)
        texts = corrupt_texts([SENTENCE] * 100, rng, kind="typos", severity=severity)
        return float(np.mean([_distance(text, SENTENCE) for text in texts]))

    first, second, third = (changed(severity) for severity in SEVERITIES)

    assert 0.5 < first < second < third


def _distance(one: str, other: str) -> int:
    """Levenshtein's, the textbook recurrence."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]
