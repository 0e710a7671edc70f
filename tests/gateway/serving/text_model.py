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
    RuntimeSpec,
    Signature,
    TensorSpec,
)
from models.pack import pack
from models.runtime.architectures.seq2seq_config import Seq2seqConfig
from models.signing import SigningKey

WORDS = ("one", "two", "three", "four")
NOTHING = "…"  # what the constant rung says


def build_babble(root: Path, key: SigningKey, *, version: str = "1") -> Bundle:
    """Pack it to ``root/version`` with a constant text as its fallback."""
    config = Seq2seqConfig(
        source_words=WORDS,
        target_words=("un", "deux", "trois"),
        embedding=4,
        hidden=4,
        max_source_tokens=8,
        max_target_tokens=8,
    )
    rng = np.random.default_rng(int(version))
    weights = {name: rng.normal(0, 2, s).astype(np.float32) for name, s in config.shapes().items()}
    texts = {"english": np.array([" ".join(rng.choice(WORDS, 3)) for _ in range(20)])}
    manifest = Manifest(
        name="babble",
        version=version,
        runtime=RuntimeSpec(kind="safetensors", file="w.safetensors", architecture="seq2seq"),
        signature=Signature(
            inputs=(TensorSpec(name="english", datatype="BYTES", shape=(-1,)),),
            outputs=(TensorSpec(name="french", datatype="BYTES", shape=(-1,)),),
        ),
        expectations=Expectations(latency_ms=10_000, accuracy=0.5),
        fallback=(ConstantRung(outputs={"french": [NOTHING]}),),
        capture=Capture(share=1.0),
    )
    with tempfile.TemporaryDirectory() as scratch:
        artifact = Path(scratch) / "w.safetensors"
        save_file(weights, artifact, {"config": json.dumps(config.model_dump())})
        return pack(
            manifest, artifact, reference=texts, held_out=texts, out=root / version, key=key
        )
