"""Card fraud: gradient boosting in ONNX, trained on what people bought before the pandemic.

Nothing is wrong with the model or the service when habits change; its answers merely stop being
right, and the labels that would tell come weeks later.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier

from guards.outlier.guard import OutlierSettings
from models.bundle import Bundle
from models.examples.onnx_sklearn import classifier_onnx
from models.examples.transactions import FEATURES, Transactions, draw_transactions
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

NAME = "fraud"
TRAIN_ROWS = 24_000
HELD_OUT_ROWS = 6_000
TREES = 120
SEED = 0

SIGNATURE = Signature(
    inputs=(TensorSpec(name="transaction", datatype="FP32", shape=(-1, len(FEATURES))),),
    outputs=(
        TensorSpec(name="probabilities", datatype="FP32", shape=(-1, 2), role="probabilities"),
    ),
)


@dataclass(frozen=True, slots=True)
class Fraud:
    """The bundle, and transactions that nothing was fitted on."""

    bundle: Bundle
    held_out: Transactions


def build_fraud(out_dir: Path, key: SigningKey) -> Fraud:
    """Train and pack the classifier to ``out_dir/fraud``."""
    rng = np.random.default_rng(SEED)
    train = draw_transactions(TRAIN_ROWS, rng, regime="before")
    held_out = draw_transactions(HELD_OUT_ROWS, rng, regime="before")
    model = GradientBoostingClassifier(
        n_estimators=TREES, max_depth=3, subsample=0.5, random_state=SEED
    )
    model.fit(train.rows, train.is_fraud)
    accuracy = float(model.score(held_out.rows, held_out.is_fraud))
    with tempfile.TemporaryDirectory() as scratch:
        artifact = Path(scratch) / "model.onnx"
        artifact.write_bytes(classifier_onnx(model, input_name="transaction", width=len(FEATURES)))
        bundle = pack(
            _manifest(accuracy=accuracy),
            artifact,
            reference={"transaction": train.rows},
            held_out={"transaction": held_out.rows},
            out=out_dir / NAME,
            key=key,
            feature_names=FEATURES,
            reference_labels=train.is_fraud,
            held_out_labels=held_out.is_fraud,
        )
    return Fraud(bundle, held_out)


def _manifest(*, accuracy: float) -> Manifest:
    return Manifest(
        name=NAME,
        version="1",
        runtime=RuntimeSpec(kind="onnx", file="model.onnx"),
        signature=SIGNATURE,
        expectations=Expectations(latency_ms=100, accuracy=0.98),
        fallback=(ConstantRung(outputs={"probabilities": [0.98, 0.02]}),),
        guards=GuardsSpec(outlier=OutlierSettings(alpha=0.01, delta=0.05)),
        capture=Capture(share=1.0),
        provenance=Provenance(
            pipeline="models.examples.fraud", metrics={"held_out_accuracy": accuracy}
        ),
    )
