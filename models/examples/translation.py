"""Numbers in English words to French words: an answer within a second, 99 % of them right.

A recurrent network with attention learns it from pairs; a much smaller one is its fallback.

    python -m models.examples.translation --out bundles --signing-key state/keys/signing.pem
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from models.bundle import Bundle
from models.bytes_tensor import as_elements
from models.examples.number_words import spell_english, spell_french
from models.manifest import (
    CacheRung,
    Capture,
    ConstantRung,
    Expectations,
    Manifest,
    ModelRung,
    Provenance,
    RuntimeSpec,
    Signature,
    TensorSpec,
)
from models.pack import pack
from models.runtime.architectures.seq2seq import Seq2seq, batch_rows
from models.runtime.architectures.seq2seq_config import END, Seq2seqConfig, Vocabulary, cut_words
from models.runtime.architectures.seq2seq_runtime import Seq2seqRuntime
from models.signing import SigningKey
from models.weights import write_config

NAME = "translation"
FILE, SMALL_FILE = "model.safetensors", "small.safetensors"
MOST_TOKENS = 32  # the longest number takes 11 in English and 13 in French, without the end

DIGITS = 6  # numbers have as many at most
HELD_OUT_PER_LENGTH = TEST_PER_LENGTH = 250  # numbers of three, four, five and six digits each
DRAWN = 40_000  # numbers to train with, some of them several times
ROUND_SHARE = 0.5  # of those, have zeros put in: that is where French is hard (80, 200, 80,000)
BATCH_ROWS = 128
MAX_NORM = 1.0  # of a gradient

SIGNATURE = Signature(
    inputs=(TensorSpec(name="english", datatype="BYTES", shape=(-1,)),),
    outputs=(TensorSpec(name="french", datatype="BYTES", shape=(-1,)),),
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How large a network is, and how it is trained."""

    hidden: int
    embedding: int
    steps: int
    learning_rate: float


RECIPE = Recipe(hidden=64, embedding=32, steps=600, learning_rate=6e-3)
SMALL_RECIPE = Recipe(hidden=12, embedding=8, steps=300, learning_rate=1e-2)


@dataclass(frozen=True, slots=True)
class Numbers:
    """Three parts that share no number."""

    train: NDArray[np.int64]  # the networks learn from these
    held_out: NDArray[np.int64]  # golden rows, and the accuracy in the manifest
    test: NDArray[np.int64]  # nobody has seen these


@dataclass(frozen=True, slots=True)
class Translation:
    """The bundle, and texts to ask it about with what is right."""

    bundle: Bundle
    test_texts: NDArray[Any]  # (n,), BYTES
    test_labels: NDArray[Any]  # (n,), BYTES


def build_translation(out_dir: Path, key: SigningKey) -> Translation:
    """Train both networks and pack them to ``out_dir/translation``."""
    numbers = split_numbers(np.random.default_rng(0))
    held_out, labels = pairs(numbers.held_out)
    networks = {
        FILE: train(RECIPE, numbers.train, seed=0),
        SMALL_FILE: train(SMALL_RECIPE, numbers.train, seed=0),
    }
    accuracy = {
        file: _accuracy(network, config, held_out, labels)
        for file, (network, config) in networks.items()
    }
    metrics = {"held_out_accuracy": accuracy[FILE], "small_held_out_accuracy": accuracy[SMALL_FILE]}
    provenance = Provenance(pipeline="models.examples.translation", metrics=metrics)
    with tempfile.TemporaryDirectory() as scratch:
        for file, (network, config) in networks.items():
            save_file(network.state_dict(), Path(scratch) / file, write_config(config))
        bundle = pack(
            _manifest(provenance),
            Path(scratch) / FILE,
            reference={"english": pairs(numbers.train[:4096])[0]},
            held_out={"english": held_out},
            out=out_dir / NAME,
            key=key,
            rungs={SMALL_FILE: Path(scratch) / SMALL_FILE},
        )
    return Translation(bundle, *pairs(numbers.test))


def split_numbers(rng: np.random.Generator) -> Numbers:
    """Hold out numbers of every length from three digits on, and draw others to train with.

    Below a hundred, a number is a word or two that can only be learnt from itself.
    """
    each = HELD_OUT_PER_LENGTH + TEST_PER_LENGTH
    lengths = [np.arange(10 ** (d - 1), 10**d) for d in range(3, DIGITS + 1)]
    unseen = np.array([rng.choice(all_, each, replace=False) for all_ in lengths])
    drawn = _draw(rng, DRAWN)
    train = np.concatenate([np.arange(100), drawn[~np.isin(drawn, unseen)]])
    held_out, test = np.split(unseen, [HELD_OUT_PER_LENGTH], axis=1)
    return Numbers(rng.permutation(train), held_out.reshape(-1), test.reshape(-1))


def _draw(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Draw numbers, every length equally often, and put zeros into some of them."""
    length = rng.integers(1, DIGITS + 1, count)
    numbers = rng.integers(10 ** (length - 1), 10**length)
    places = 10 ** np.arange(DIGITS)
    beyond_first = numbers[:, None] >= 10 * places
    is_round = rng.random((count, 1)) < ROUND_SHARE
    zeroed = is_round & beyond_first & (rng.random((count, DIGITS)) < 0.5)
    digits = numbers[:, None] // places % 10
    rounded: NDArray[np.int64] = np.where(zeroed, 0, digits) @ places
    return rounded


def pairs(numbers: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Spell numbers in English and in French, each (n,) of BYTES."""
    listed = numbers.tolist()
    english = [spell_english(number).encode() for number in listed]
    french = [spell_french(number).encode() for number in listed]
    return as_elements(english, (len(listed),)), as_elements(french, (len(listed),))


def train(
    recipe: Recipe, numbers: NDArray[np.int64], *, seed: int
) -> tuple[Seq2seq, Seq2seqConfig]:
    """Fit a network; the same seed gives the same weights on the same machine."""
    torch.set_num_threads(1)  # as fast as two for so small a network, and kinder to neighbours
    torch.manual_seed(seed)
    english, french = (texts.tolist() for texts in pairs(numbers))
    config = Seq2seqConfig(
        source_words=_words(english),
        target_words=_words(french),
        embedding=recipe.embedding,
        hidden=recipe.hidden,
        max_source_tokens=MOST_TOKENS,
        max_target_tokens=MOST_TOKENS,
    )
    sources = _encode(english, config.source_words)
    targets = _encode(french, config.target_words)
    network = Seq2seq(config)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps
    )
    for _ in range(recipe.steps):
        chosen = torch.randint(len(numbers), (BATCH_ROWS,)).tolist()
        loss = _loss(network, [sources[i] for i in chosen], [targets[i] for i in chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), MAX_NORM)
        optimizer.step()
        rate.step()
    return network.eval(), config


def _loss(
    network: Seq2seq, sources: Sequence[list[int]], targets: Sequence[list[int]]
) -> torch.Tensor:
    """Cross-entropy of each right token, given all right ones before it."""
    right, lengths = batch_rows(targets)
    before = torch.cat((torch.full((len(right), 1), END), right[:, :-1]), dim=1)
    logits, _ = network.decode(before, *network.encode(*batch_rows(sources)))
    counts = torch.arange(right.shape[1]) < lengths[:, None]
    return torch.nn.functional.cross_entropy(logits[counts], right[counts])


def _words(texts: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(sorted({word for text in texts for word in cut_words(text.decode())}))


def _encode(texts: Sequence[bytes], words: Sequence[str]) -> list[list[int]]:
    vocabulary = Vocabulary(words)
    return [[*vocabulary.encode(text, most=MOST_TOKENS), END] for text in texts]


def _accuracy(
    network: Seq2seq, config: Seq2seqConfig, texts: NDArray[Any], labels: NDArray[Any]
) -> float:
    runtime = Seq2seqRuntime(network, config, _manifest(Provenance()))
    return float(np.mean(runtime.predict({"english": texts})["french"] == labels))


def _manifest(provenance: Provenance) -> Manifest:
    return Manifest(
        name=NAME,
        version="1",
        runtime=RuntimeSpec(kind="safetensors", file=FILE, architecture="seq2seq", device="cpu"),
        signature=SIGNATURE,
        expectations=Expectations(latency_ms=1000, accuracy=0.99),
        fallback=(
            ModelRung(file=SMALL_FILE, kind="safetensors", architecture="seq2seq"),
            CacheRung(),
            ConstantRung(outputs={"french": [""]}),  # no translation, and no wrong one
        ),
        capture=Capture(share=1.0),
        provenance=provenance,
    )


def main() -> None:
    """Train and pack, and say where the bundle is."""
    parser = argparse.ArgumentParser(prog="python -m models.examples.translation")
    parser.add_argument("--out", type=Path, required=True, help="directory of the bundle's own")
    parser.add_argument("--signing-key", type=Path, required=True, help="Ed25519 key in PEM")
    arguments = parser.parse_args()
    bundle = build_translation(arguments.out, SigningKey.load(arguments.signing_key)).bundle
    print(bundle.path, bundle.manifest.provenance.metrics)


if __name__ == "__main__":
    main()
