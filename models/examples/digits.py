"""Handwritten digits (scikit-learn's scans of 8 x 8 pixels) read by a small convolutional network.

Version 1 is the network in ONNX.  Version 2 is the same network from another seed, as a
torch.export program: it agrees with version 1 on most rows, not on all.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from guards.outlier.guard import OutlierSettings
from guards.output.settings import OutputSettings, PredictionSetSettings
from models.bundle import Bundle
from models.examples.example import Example, Split, split
from models.examples.onnx_torch import export_onnx
from models.features import feature_names
from models.manifest import (
    Capture,
    ConstantRung,
    Expectations,
    GuardsSpec,
    Manifest,
    Provenance,
    Rung,
    RuntimeSpec,
    Signature,
    TensorSpec,
    VersionRung,
)
from models.pack import pack
from models.signing import SigningKey

NAME = "digits"
VERSIONS = ("1", "2")
SEEDS = {"1": 1, "2": 2}

SIDE = 8  # pixels
BRIGHTEST = 16.0
CLASSES = 10
TRAIN_ROWS = 850
HELD_OUT_ROWS = 550  # alpha 1 % at delta 5 % needs 299 and grows sharper with more
EPOCHS = 40
BATCH_ROWS = 64
LEARNING_RATE = 2e-3

SIGNATURE = Signature(
    inputs=(TensorSpec(name="image", datatype="FP32", shape=(-1, SIDE * SIDE)),),
    outputs=(
        TensorSpec(
            name="probabilities", datatype="FP32", shape=(-1, CLASSES), role="probabilities"
        ),
    ),
)
# More than the accuracy, or every set would hold one class.  Half of the held-out rows calibrate
# the sets: 275, where 99 would be the least.
OUTPUT = OutputSettings(
    min_confidence=0.5, prediction_set=PredictionSetSettings(coverage=0.99, score="aps")
)
UNDECIDED = ConstantRung(outputs={"probabilities": [1 / CLASSES] * CLASSES})
FALLBACK: dict[str, tuple[Rung, ...]] = {
    "1": (UNDECIDED,),
    "2": (VersionRung(version="1"), UNDECIDED),
}


class DigitsNetwork(torch.nn.Module):
    """Two convolutions and a linear layer, from pixels in [0, 16] to probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Unflatten(1, (1, SIDE, SIDE)),
            torch.nn.Conv2d(1, 16, kernel_size=3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(16, 32, kernel_size=3, padding=1),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Dropout(0.3),
            torch.nn.Linear(32 * (SIDE // 2) ** 2, CLASSES),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Give the logits of images, shape (n, 64)."""
        logits: torch.Tensor = self.layers(image / BRIGHTEST)
        return logits


def build_digits(out_dir: Path, key: SigningKey, *, versions: Sequence[str] = VERSIONS) -> Example:
    """Train and pack ``versions``: the first to ``out_dir/digits``, the second to ``digits-2``."""
    data = load_data()
    bundles = tuple(_build(version, data, out_dir, key) for version in versions)
    return Example(bundles, "image", *data.test, feature_names(SIGNATURE))


def load_data() -> Split:
    """Split the 1,797 scans: 850 train, 550 held out, 397 to test."""
    scans = load_digits()
    return split(scans.data, scans.target, train=TRAIN_ROWS, held_out=HELD_OUT_ROWS)


def train(data: Split, *, seed: int) -> torch.nn.Module:
    """Fit the network; the same seed gives the same weights on the same machine."""
    # One thread trains so small a network as fast as two, and four times as fast when another
    # process wants a core: threads that wait for each other spin.
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    network = DigitsNetwork()
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    rows, labels = (torch.from_numpy(array) for array in data.train)
    for _ in range(EPOCHS):
        for chosen in torch.split(torch.randperm(len(rows)), BATCH_ROWS):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(rows[chosen]), labels[chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return torch.nn.Sequential(network, torch.nn.Softmax(dim=1)).eval()


def _build(version: str, data: Split, out_dir: Path, key: SigningKey) -> Bundle:
    model = train(data, seed=SEEDS[version])
    with torch.inference_mode():
        answers = model(torch.from_numpy(data.held_out[0])).argmax(dim=1).numpy()
    accuracy = float(np.mean(answers == data.held_out[1]))
    kind, file = ("onnx", "model.onnx") if version == "1" else ("torch", "model.pt2")
    manifest = Manifest(
        name=NAME,
        version=version,
        runtime=RuntimeSpec(kind=kind, file=file),
        signature=SIGNATURE,
        expectations=Expectations(latency_ms=100, accuracy=0.95),
        fallback=FALLBACK[version],
        guards=GuardsSpec(outlier=OutlierSettings(alpha=0.01, delta=0.05), output=OUTPUT),
        capture=Capture(share=1.0),
        provenance=Provenance(
            pipeline="models.examples.digits", metrics={"held_out_accuracy": accuracy}
        ),
    )
    with tempfile.TemporaryDirectory() as scratch:
        artifact = Path(scratch) / file
        (_export_onnx if kind == "onnx" else _export_torch)(model, artifact)
        return pack(
            manifest,
            artifact,
            reference={"image": data.train[0]},
            held_out={"image": data.held_out[0]},
            out=out_dir / (NAME if version == "1" else f"{NAME}-{version}"),
            key=key,
            reference_labels=data.train[1],
            held_out_labels=data.held_out[1],
        )


def _export_onnx(model: torch.nn.Module, path: Path) -> None:
    export_onnx(model, _example(), path, input_name="image", output_names=["probabilities"])


def _export_torch(model: torch.nn.Module, path: Path) -> None:
    shapes = ({0: torch.export.Dim("rows")},)
    torch.export.save(torch.export.export(model, (_example(),), dynamic_shapes=shapes), path)


def _example() -> torch.Tensor:
    return torch.zeros(2, SIDE * SIDE)  # two rows: one would fix the batch size at one
