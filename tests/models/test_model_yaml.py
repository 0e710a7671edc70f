"""model.yaml: what is refused, with which sentence, and that writing and reading agree."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.contract.feature import Feature
from guards.outlier.guard import OutlierSettings
from guards.schema import SchemaSettings
from models.errors import ManifestError
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
    VersionRung,
)
from models.model_yaml import MAX_YAML_BYTES, parse_manifest, render_manifest

PLAIN = """\
name: digits
version: "3"
runtime: {kind: onnx, file: model.onnx, device: auto}
signature:
  inputs:  [{name: image, datatype: FP32, shape: [-1, 2]}]
  outputs: [{name: probabilities, datatype: FP32, shape: [-1, 2], role: probabilities}]
expectations: {latency_ms: 50, accuracy: 0.97}
guards:
  outlier: {detector: auto, alpha: 0.01, delta: 0.05, action: flag}
provenance: {trained_at: 2026-11-01T00:00:00Z, metrics: {accuracy: 0.981}}
"""


def refusal(text: str | bytes) -> str:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(text.encode() if isinstance(text, str) else text)
    sentence = str(caught.value)
    assert sentence.startswith("model.yaml: ")
    assert "\n" not in sentence
    return sentence


def test_the_example_of_the_design_reads() -> None:
    manifest = parse_manifest(PLAIN.encode())

    assert manifest.name == "digits"
    assert manifest.guards.outlier is not None
    assert manifest.guards.outlier.alpha == 0.01


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("alpha: 0.01", "alpha: 1.5", "guards.outlier.alpha: Input should be less than 1"),
        ("alpha: 0.01", "alpha: .nan", "guards.outlier.alpha: "),
        ("alpha: 0.01", "alfa: 0.01", "guards.outlier.alfa: Extra inputs are not permitted"),
        ('version: "3"', "version: 3", "version: Input should be a valid string"),
        ("name: digits", "name: stats", "a model may not be called 'stats'"),
        ("name: digits", "name: Digits", "name: String should match pattern"),
        ("name: digits", 'name: "digits\\n"', "name: String should match pattern"),
        ("name: digits", "name: a b", "name: String should match pattern"),
        ("file: model.onnx", "file: ../model.onnx", "runtime.file: String should match pattern"),
        (
            "kind: onnx",
            "kind: jax",
            "runtime.kind: Input should be 'onnx', 'torch', 'safetensors' or 'constant'",
        ),
        ("shape: [-1, 2]", "shape: [1, 2]", "signature.inputs.0: shape must be [-1, ...]"),
        ("provenance:", "capture: {redact: [imgae]}\nprovenance:", "capture.redact names no input"),
        (
            "provenance:",
            "fallback: [{use: constant, outputs: {probabilities: [1.0]}}]\nprovenance:",
            "constant outputs must be",
        ),
        (
            "provenance:",
            "fallback: [{use: constant, outputs: {probabilities: [a, b]}}]\nprovenance:",
            "constant output probabilities: strings are for BYTES",
        ),
        (
            "  outlier:",
            "  schema: {features: [{name: a}, {name: b}, {name: c}]}\n  outlier:",
            "guards.schema describes 3 columns, inputs have 2",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(old: str, new: str, problem: str) -> None:
    assert problem in refusal(PLAIN.replace(old, new, 1))


def test_many_problems_are_summarised() -> None:
    sentence = refusal("a: 1\nb: 2\nc: 3\nd: 4\n")

    assert sentence.count("model.yaml: ") == 3
    assert sentence.endswith("; and 5 more")


def test_the_refusal_does_not_repeat_what_was_written() -> None:
    assert "secret" not in refusal(PLAIN.replace("latency_ms: 50", "latency_ms: secret"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (PLAIN + "name: other\n", "a key is repeated"),
        (PLAIN.replace("alpha: 0.01", "alpha: 0.01, alpha: 0.5"), "a key is repeated"),
        ("a: &a [x]\nb: *a\n", "aliases are not allowed"),
        ("a: &a {x: 1}\nb: {<<: *a}\n", "aliases are not allowed"),
        ("[" * 1_000, "nested deeper than 32"),
        ("- " * 1_000, "nested deeper than 32"),
        ("{" * 200_000, "nested deeper than 32"),
        ("name: !!python/object/apply:os.system [ls]\n", "not plain YAML"),
        ("? [a]\n: b\n", "not plain YAML"),
        ("a: 2026-13-45\n", "not plain YAML"),
        ("a: " + "9" * 5_000, "not plain YAML"),
        ("a: !!binary x\n", "not plain YAML"),
        ("a: 'open\n", "not plain YAML at line"),
        ("--- 1\n--- 2\n", "not plain YAML"),
        (b"\xff\xfe", "not plain YAML"),
        (b"a: \x00", "not plain YAML"),
        ("", "must be a mapping"),
        ("- 1\n", "must be a mapping"),
        ("#" * (MAX_YAML_BYTES + 1), "bytes, at most"),
    ],
)
def test_text_that_is_not_plain_yaml_is_refused(text: str | bytes, problem: str) -> None:
    assert problem in refusal(text)


@given(text=st.text(alphabet=st.sampled_from("ab:-[]{}#&*!|>'\"%@`,? \n\t0.~=<"), max_size=60))
def test_no_text_gets_past_the_reader_with_another_error(text: str) -> None:
    refusal(text)


shares = st.floats(0.001, 0.999)
names = st.text(min_size=1, max_size=20)
manifests = st.builds(
    lambda **parts: Manifest(
        name="m",
        version="1",
        runtime=RuntimeSpec(kind="onnx", file="model.onnx"),
        signature=Signature(
            inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),),
            outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 2)),),
        ),
        **parts,
    ),
    expectations=st.builds(Expectations, latency_ms=st.floats(1e-6, 1e9), accuracy=shares),
    fallback=st.tuples(
        st.builds(VersionRung, version=st.sampled_from(["1", "1.0", "0x1", "null", "1e3"])),
        st.builds(
            lambda row: ConstantRung(outputs={"y": row}),
            st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2),
        ),
    ),
    guards=st.builds(
        lambda alpha, name, low: GuardsSpec(
            outlier=OutlierSettings(alpha=alpha),
            schema=SchemaSettings(features=(Feature(name=name, count=2, low=low),)),
        ),
        shares,
        names,
        st.floats(allow_nan=False, allow_infinity=False, width=32),
    ),
    capture=st.builds(Capture, share=shares),
    provenance=st.builds(
        Provenance,
        pipeline=names,
        trained_at=st.none() | st.datetimes(),
        metrics=st.dictionaries(names, shares, max_size=3),
    ),
)


@given(manifest=manifests)
def test_a_manifest_reads_back_as_it_was_written(manifest: Manifest) -> None:
    assert parse_manifest(render_manifest(manifest)) == manifest


TEXT = PLAIN.replace("FP32, shape: [-1, 2], role: probabilities", "BYTES, shape: [-1]")


@pytest.mark.parametrize(
    ("old", "new", "needed"),
    [
        ("provenance:", "explore: {kind: single}\nprovenance:", "numbers"),
        ("  outlier:", "  output: {min_confidence: 0.5}\n  outlier:", "probabilities or logits"),
        ("  outlier:", "  output: {prediction_set: {}}\n  outlier:", "probabilities or logits"),
        ("  outlier:", "  output: {ranges: {label: {low: 0}}}\n  outlier:", "numbers: ['label']"),
    ],
)
def test_what_needs_numbers_is_refused_where_the_answer_is_text(
    old: str, new: str, needed: str
) -> None:
    assert parse_manifest(TEXT.encode()).signature.answer.datatype == "BYTES"
    assert needed in refusal(TEXT.replace(old, new, 1))
