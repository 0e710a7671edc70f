"""Breast tumours, malignant or benign, from 30 measurements of cells (the Wisconsin data).

A scikit-learn pipeline, converted to ONNX with skl2onnx.
"""

import tempfile
from pathlib import Path

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from guards.outlier.guard import OutlierSettings
from models.examples.example import Example, Split, split
from models.examples.onnx_sklearn import classifier_onnx
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

NAME = "breast_cancer"
MEASUREMENTS = 30
CLASSES = 2
TRAIN_ROWS = 285
HELD_OUT_ROWS = 142

SIGNATURE = Signature(
    inputs=(TensorSpec(name="measurements", datatype="FP32", shape=(-1, MEASUREMENTS)),),
    outputs=(
        TensorSpec(
            name="probabilities", datatype="FP32", shape=(-1, CLASSES), role="probabilities"
        ),
    ),
)


def build_breast_cancer(out_dir: Path, key: SigningKey) -> Example:
    """Train and pack the classifier to ``out_dir/breast_cancer``."""
    data, names = load_data()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=1000))
    model.fit(*data.train)
    manifest = _manifest(accuracy=float(model.score(*data.held_out)))
    with tempfile.TemporaryDirectory() as scratch:
        artifact = Path(scratch) / "model.onnx"
        artifact.write_bytes(classifier_onnx(model, input_name="measurements", width=MEASUREMENTS))
        bundle = pack(
            manifest,
            artifact,
            reference={"measurements": data.train[0]},
            held_out={"measurements": data.held_out[0]},
            out=out_dir / NAME,
            key=key,
            feature_names=names,
            reference_labels=data.train[1],
            held_out_labels=data.held_out[1],
        )
    return Example((bundle,), "measurements", *data.test, names)


def load_data() -> tuple[Split, tuple[str, ...]]:
    """Split the 569 tumours, 285 train, 142 held out, 142 to test; and name the columns."""
    tumours = load_breast_cancer()
    names = tuple(name.replace(" ", "_") for name in map(str, tumours.feature_names))
    return split(tumours.data, tumours.target, train=TRAIN_ROWS, held_out=HELD_OUT_ROWS), names


def _manifest(*, accuracy: float) -> Manifest:
    undecided = [1 / CLASSES] * CLASSES
    return Manifest(
        name=NAME,
        version="1",
        runtime=RuntimeSpec(kind="onnx", file="model.onnx"),
        signature=SIGNATURE,
        expectations=Expectations(latency_ms=100, accuracy=0.9),
        fallback=(ConstantRung(outputs={"probabilities": undecided}),),
        guards=GuardsSpec(outlier=OutlierSettings(alpha=0.05, delta=0.05)),
        capture=Capture(share=1.0),
        provenance=Provenance(
            pipeline="models.examples.breast_cancer", metrics={"held_out_accuracy": accuracy}
        ),
    )
