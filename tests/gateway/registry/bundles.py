"""Small real bundles: a constant model, packed and signed."""

from pathlib import Path

import numpy as np

from models.bundle import Bundle
from models.manifest import Manifest
from models.pack import pack
from models.signing import SigningKey

KEY = SigningKey.create()


def make_bundle(
    directory: Path,
    version: str = "1",
    *,
    name: str = "toy",
    value: float = 0.5,
    width: int = 2,
    falls_back_to: tuple[str, ...] = (),
    outlier: dict[str, object] | None = None,
    schema: dict[str, object] | None = None,
    key: SigningKey = KEY,
) -> Bundle:
    manifest = Manifest.model_validate(
        {
            "name": name,
            "version": version,
            "runtime": {"kind": "constant", "outputs": {"y": [value]}},
            "signature": {
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, width]}],
                "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}],
            },
            "expectations": {"latency_ms": 30_000},  # no test of these is about time
            "fallback": [{"use": "version", "version": rung} for rung in falls_back_to],
            "guards": {"outlier": outlier, "schema": schema or {}},
        }
    )
    drawn = np.random.default_rng(0).normal(size=(300, width)).astype(np.float32)
    reference, held_out = {"x": drawn[:100]}, {"x": drawn[100:]}
    return pack(manifest, None, reference=reference, held_out=held_out, out=directory, key=key)
