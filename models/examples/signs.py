"""Road signs read by a small convolutional network that has only ever seen clear weather.

In fog, snow, at night, against the sun or with stickers on the sign it goes on answering, sure of
itself and wrong.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from guards.outlier.guard import OutlierSettings
from guards.stress.power import Budget
from models.bundle import Bundle
from models.examples.onnx_torch import export_onnx
from models.examples.sign_images import KINDS, SIDE, Images, draw_signs
from models.manifest import (
    Capture,
    ConstantRung,
    Expectations,
    GuardsSpec,
    Manifest,
    Provenance,
    RuntimeSpec,
    Signature,
    TensorSpec,
)
from models.pack import pack
from models.signing import SigningKey

NAME = "signs"
TRAIN_ROWS = 6000
HELD_OUT_ROWS = 2000
EMBEDDING = 64
EPOCHS = 6
BATCH_ROWS = 64
LEARNING_RATE = 2e-3
SEED = 0
POWER_BUDGET = Budget(rows=256, seconds=30)  # 43 probes, and the network answers every spoilt row

SIGNATURE = Signature(
    inputs=(TensorSpec(name="image", datatype="FP32", shape=(-1, 3, SIDE, SIDE)),),
    outputs=(
        TensorSpec(
            name="probabilities", datatype="FP32", shape=(-1, len(KINDS)), role="probabilities"
        ),
        TensorSpec(name="embedding", datatype="FP32", shape=(-1, EMBEDDING), role="embedding"),
    ),
)


@dataclass(frozen=True, slots=True)
class Signs:
    """The bundle, and how well it reads held-out signs in clear weather."""

    bundle: Bundle
    accuracy: float


class SignNetwork(torch.nn.Module):
    """Three convolutions, an embedding and a linear layer, from images to probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.features = torch.nn.Sequential(
            *_block(3, 16), *_block(16, 32), *_block(32, 48),
            torch.nn.Flatten(),
            torch.nn.Linear(48 * (SIDE // 8) ** 2, EMBEDDING),
            torch.nn.ReLU(),
        )  # fmt: skip
        self.head = torch.nn.Linear(EMBEDDING, len(KINDS))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give probabilities (n, 8) and the embedding (n, 64) of images (n, 3, 32, 32)."""
        embedding = self.features(image - 0.5)
        return torch.softmax(self.head(embedding), dim=1), embedding


def build_signs(out_dir: Path, key: SigningKey) -> Signs:
    """Train and pack the network to ``out_dir/signs``."""
    rng = np.random.default_rng(SEED)
    images, kinds = draw_signs(TRAIN_ROWS, rng)
    held_out, held_out_kinds = draw_signs(HELD_OUT_ROWS, rng)
    network = train(images, kinds)
    with torch.inference_mode():
        answers = network(torch.from_numpy(held_out))[0].argmax(dim=1).numpy()
    accuracy = float(np.mean(answers == held_out_kinds))
    with tempfile.TemporaryDirectory() as scratch:
        artifact = Path(scratch) / "model.onnx"
        export_onnx(
            network,
            torch.zeros(2, 3, SIDE, SIDE),
            artifact,
            input_name="image",
            output_names=("probabilities", "embedding"),
        )
        bundle = pack(
            _manifest(accuracy=accuracy),
            artifact,
            reference={"image": images},
            held_out={"image": held_out},
            out=out_dir / NAME,
            key=key,
            reference_labels=kinds,
            held_out_labels=held_out_kinds,
            power_budget=POWER_BUDGET,
        )
    return Signs(bundle, accuracy)


def train(images: Images, kinds: np.ndarray) -> SignNetwork:
    """Fit the network; the same seed gives the same weights on the same machine."""
    torch.set_num_threads(1)  # threads that wait for each other spin
    torch.manual_seed(SEED)
    network = SignNetwork()
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    rows, labels = torch.from_numpy(images), torch.from_numpy(kinds)
    for chosen in _batches(len(rows)):
        optimizer.zero_grad()
        logits = network.head(network.features(rows[chosen] - 0.5))
        loss = torch.nn.functional.cross_entropy(logits, labels[chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network.eval()


def _batches(n: int) -> Iterator[torch.Tensor]:
    for _ in range(EPOCHS):
        yield from torch.split(torch.randperm(n), BATCH_ROWS)


def _block(before: int, after: int) -> tuple[torch.nn.Module, ...]:
    return (
        torch.nn.Conv2d(before, after, kernel_size=3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
    )


def _manifest(*, accuracy: float) -> Manifest:
    undecided = [1 / len(KINDS)] * len(KINDS)
    return Manifest(
        name=NAME,
        version="1",
        runtime=RuntimeSpec(kind="onnx", file="model.onnx"),
        signature=SIGNATURE,
        expectations=Expectations(latency_ms=100, accuracy=0.97),
        fallback=(
            ConstantRung(outputs={"probabilities": undecided, "embedding": [0.0] * EMBEDDING}),
        ),
        guards=GuardsSpec(outlier=OutlierSettings(alpha=0.01, delta=0.05)),
        capture=Capture(share=1.0),
        provenance=Provenance(
            pipeline="models.examples.signs", metrics={"held_out_accuracy": accuracy}
        ),
    )
