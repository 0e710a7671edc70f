"""A model from text to text whose weights are drawn: it babbles, and always alike."""

import json
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from models.bundle import Bundle
from models.manifest import (
    Capture,
    ConstantRung,
    Expectations,
    Manifest,
    ModelRung,
    RuntimeSpec,
    Signature,
    TensorSpec,
)
from models.pack import pack
from models.runtime.architectures.seq2seq_config import Seq2seqConfig
from models.signing import SigningKey

WORDS = ("one", "two", "three", "four")
HIDDEN, SMALL_HIDDEN = 4, 2
NOTHING = "…"  # what the constant rung says


def build_babble(root: Path, key: SigningKey, *, version: str = "1") -> Bundle:
    """Pack it to ``root/version``; its fallbacks are a smaller one and a constant text."""
    rng = np.random.default_rng(int(version))
    texts = {"english": np.array([" ".join(rng.choice(WORDS, i % 4)) for i in range(20)])}
    manifest = Manifest(
        name="babble",
        version=version,
        runtime=RuntimeSpec(kind="safetensors", file="w.safetensors", architecture="seq2seq"),
        signature=Signature(
            inputs=(TensorSpec(name="english", datatype="BYTES", shape=(-1,)),),
            outputs=(TensorSpec(name="french", datatype="BYTES", shape=(-1,)),),
        ),
        expectations=Expectations(latency_ms=10_000, accuracy=0.5),
        fallback=(
            ModelRung(file="small.safetensors", kind="safetensors", architecture="seq2seq"),
            ConstantRung(outputs={"french": [NOTHING]}),
        ),
        capture=Capture(share=1.0),
    )
    with tempfile.TemporaryDirectory() as scratch:
        artifact, small = (Path(scratch) / name for name in ("w.safetensors", "small.safetensors"))
        _draw(artifact, rng, hidden=HIDDEN)
        _draw(small, rng, hidden=SMALL_HIDDEN)
        return pack(
            manifest,
            artifact,
            reference=texts,
            held_out=texts,
            out=root / version,
            key=key,
            rungs={small.name: small},
        )


def _draw(path: Path, rng: np.random.Generator, *, hidden: int) -> None:
    config = Seq2seqConfig(
        source_words=WORDS,
        target_words=("un", "deux", "trois"),
        embedding=4,
        hidden=hidden,
        max_source_tokens=8,
        max_target_tokens=8,
    )
    weights = {name: rng.normal(0, 2, s).astype(np.float32) for name, s in config.shapes().items()}
    save_file(weights, path, {"config": json.dumps(config.model_dump())})
