"""What a `seq2seq` model is made of: its sizes and words, and so the shapes of its weights.

Read before anything is built, and without torch: the file of weights is judged by it.
"""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from models.errors import ArtifactError
from models.manifest import Signature
from models.runtime.architectures.config import ArchitectureConfig

END, UNKNOWN = 0, 1  # of the tokens, whatever the words are; END also begins the answer
SPECIAL_TOKENS = 2

MAX_WORDS = 1 << 16
MAX_WORD_CHARS = 64
BYTES_PER_TOKEN = MAX_WORD_CHARS * 4  # UTF-8: what lies beyond is not even decoded

Word = Annotated[
    str, StringConstraints(pattern=r"\A-?[^\s-]+\z", max_length=MAX_WORD_CHARS)
]  # a hyphen only in front: it joins a word to the one before it


class Seq2seqConfig(ArchitectureConfig):
    """Sizes and words of one model."""

    source_words: tuple[Word, ...] = Field(min_length=1, max_length=MAX_WORDS)
    target_words: tuple[Word, ...] = Field(min_length=1, max_length=MAX_WORDS)
    embedding: int = Field(ge=1, le=1024, description="Numbers per token.")
    hidden: int = Field(ge=1, le=1024, description="Numbers in a state, per direction.")
    max_source_tokens: int = Field(ge=1, le=512, description="What comes after is not read.")
    max_target_tokens: int = Field(ge=1, le=512, description="An answer is at most this long.")

    @field_validator("source_words", "target_words")
    @classmethod
    def _words_differ(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(words)) != len(words):
            raise ValueError("words must differ")
        return words

    def check_signature(self, signature: Signature) -> None:
        """See that there is one text a row to read, and one to write.

        Raises:
            ArtifactError: there is anything else.
        """
        for specs in (signature.inputs, signature.outputs):
            if len(specs) != 1 or specs[0].datatype != "BYTES" or specs[0].row_width != 1:
                raise ArtifactError("seq2seq takes one BYTES tensor, one text a row, and gives one")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name every tensor of weights, with its shape."""
        source, target = (SPECIAL_TOKENS + len(w) for w in (self.source_words, self.target_words))
        wide = 2 * self.hidden  # both directions of the encoder; the decoder is as wide
        shapes: dict[str, tuple[int, ...]] = {
            "source.weight": (source, self.embedding),
            "target.weight": (target, self.embedding),
            "blend.weight": (wide, 2 * wide),
            "blend.bias": (wide,),
            "score.weight": (target, wide),
            "score.bias": (target,),
        }
        grus = {("encoder", ""): self.hidden, ("encoder", "_reverse"): self.hidden}
        for (name, way), state in (grus | {("decoder", ""): wide}).items():
            shapes |= {
                f"{name}.weight_ih_l0{way}": (3 * state, self.embedding),  # of three gates
                f"{name}.weight_hh_l0{way}": (3 * state, state),
                f"{name}.bias_ih_l0{way}": (3 * state,),
                f"{name}.bias_hh_l0{way}": (3 * state,),
            }
        return shapes


class Vocabulary:
    """Text to tokens and back.  A hyphen begins a token: ``forty-two`` is ``forty``, ``-two``."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)
        self._tokens = {word: token for token, word in enumerate(words, start=SPECIAL_TOKENS)}

    def encode(self, text: bytes, *, most: int) -> list[int]:
        """Read at most ``most`` tokens; what is no known word, or no UTF-8, is `UNKNOWN`."""
        readable = text[: most * BYTES_PER_TOKEN].decode(errors="replace")
        return [self._tokens.get(word, UNKNOWN) for word in cut_words(readable)[:most]]

    def decode(self, tokens: Sequence[int]) -> bytes:
        """Write the words of the tokens; special ones have none."""
        words = [self._words[t - SPECIAL_TOKENS] for t in tokens if t >= SPECIAL_TOKENS]
        return " ".join(words).replace(" -", "-").encode()


def cut_words(text: str) -> list[str]:
    """Cut at spaces, and in front of every hyphen; capitals count as small letters."""
    return text.lower().replace("-", " -").split()
