"""A bundle knows what traffic was: every channel has a name, a reference and a weight."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guards.drift.cells import MISSING, UNSEEN, count
from models.bundle import Bundle, load_watched
from models.manifest import Expectations, Manifest, RuntimeSpec, Signature, TensorSpec
from models.traffic import VIOLATION, Watched, fit_watched, output_values

RNG = np.random.default_rng(0)


def _manifest(inputs: tuple[TensorSpec, ...], output: TensorSpec) -> Manifest:
    outputs = {output.name: [0.0] * output.row_width}
    return Manifest(
        name="watched",
        version="1",
        runtime=RuntimeSpec(kind="constant", outputs=outputs),
        signature=Signature(inputs=inputs, outputs=(output,)),
        expectations=Expectations(),
    )


def _fit(manifest: Manifest, rows: dict[str, np.ndarray], predict: Callable[..., Any]) -> Watched:
    n = len(next(iter(rows.values())))
    return fit_watched(
        manifest,
        rows,
        rows,
        outputs=predict(rows),
        p_values=RNG.random(n),
        violations=np.zeros(n, bool),
        predict=predict,
        names=(),
        rng=RNG,
    )


def _spec(name: str, datatype: str, width: int, **more: Any) -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=(-1, width), **more)  # type: ignore[arg-type]


def test_a_packed_bundle_knows_its_traffic(packed: Bundle) -> None:
    watched = load_watched(packed)

    assert watched is not None
    assert set(watched.references) == {"reject_rate", "outputs", "features"}
    names = watched.references["features"].layout.names
    assert names[:2] == ("features[0]", "features[1]")
    assert names[-1] == VIOLATION
    assert watched.references["outputs"].layout.names == ("predicted class", "confidence")
    assert all(weights.sum() == pytest.approx(1) for weights in watched.weights.values())
    twin = Watched.from_arrays(watched.to_arrays())
    assert twin.to_arrays().keys() == watched.to_arrays().keys()


def test_a_bundle_from_before_says_nothing(packed: Bundle, tmp_path: Path) -> None:
    digests = {name: d for name, d in packed.digests.items() if name != "drift.npz"}

    assert load_watched(Bundle(packed.path, packed.manifest, packed.digest, digests)) is None


def test_a_column_without_influence_has_no_weight() -> None:
    manifest = _manifest((_spec("x", "FP32", 3),), _spec("y", "FP32", 1, role="value"))
    rows = {"x": RNG.normal(size=(300, 3)).astype(np.float32)}

    watched = _fit(manifest, rows, lambda r: {"y": (3 * r["x"][:, :1] + r["x"][:, 2:])})

    strong, none, weak, violation = watched.weights["features"]
    assert strong > weak > none == 0
    assert violation > 0


def test_a_wide_tensor_is_summarised_and_a_darker_image_shows() -> None:
    manifest = _manifest((_spec("image", "UINT8", 400),), _spec("y", "FP32", 1, role="value"))
    images = RNG.integers(100, 200, (500, 400)).astype(np.uint8)
    watched = _fit(manifest, {"image": images}, lambda r: {"y": np.zeros((len(r["image"]), 1))})
    layout = watched.references["features"].layout

    dark = watched.input_values({"image": images // 2}, manifest.signature)
    codes = layout.codes(np.column_stack([dark, np.zeros(500)]))

    assert layout.names == (
        "image.mean",
        "image.spread",
        "image.least",
        "image.greatest",
        VIOLATION,
    )
    assert (codes[:, 0] == 0).all()


def test_texts_are_categories_or_lengths() -> None:
    manifest = _manifest(
        (_spec("shop", "BYTES", 1), _spec("note", "BYTES", 1)),
        _spec("y", "FP32", 1, role="value"),
    )
    texts = {
        "shop": np.array([[[b"tea", b"caf\xc3\xa9"][i % 2]] for i in range(2000)], object),
        "note": np.array([[b"n" * (i % 7) + str(i).encode()] for i in range(2000)], object),
    }
    watched = _fit(manifest, texts, lambda r: {"y": np.zeros((len(r["shop"]), 1))})
    layout = watched.references["features"].layout

    new = {
        "shop": np.array([[b"tea"], [b"beer"], [b""]], object),
        "note": np.array([[b"n"], [b"nn"], [b"n" * 500]], object),
    }
    counts = count(
        layout.codes(np.column_stack([watched.input_values(new, manifest.signature), [0, 0, 0]]))
    )

    assert layout.names[:2] == ("shop", "note.length")
    assert (counts[0, UNSEEN], counts[0, MISSING]) == (1, 1)
    assert counts[1].sum() == 3


@pytest.mark.parametrize(
    ("spec", "answer", "channels"),
    [
        (_spec("p", "FP32", 3, role="probabilities"), [[0.2, 0.7, 0.1]], [[1, 0.7]]),
        (_spec("p", "FP32", 1, role="probabilities"), [[0.2]], [[0, 0.8]]),
        (_spec("label", "INT64", 1, role="label"), [[4]], [[4]]),
        (_spec("price", "FP32", 1, role="value"), [[2.5]], [[2.5]]),
    ],
)
def test_answers_are_watched_as_what_they_are(
    spec: TensorSpec, answer: list[list[float]], channels: list[list[float]]
) -> None:
    signature = Signature(inputs=(_spec("x", "FP32", 1),), outputs=(spec,))

    found = output_values({spec.name: np.array(answer, np.float32)}, signature)

    np.testing.assert_allclose(found, channels, rtol=1e-6)


def test_an_entity_must_be_an_input() -> None:
    manifest = _manifest((_spec("x", "FP32", 3),), _spec("y", "FP32", 1))
    told = manifest.model_dump(by_alias=True)
    told["guards"]["drift"]["entity"] = "card"

    with pytest.raises(ValueError, match="names no input: 'card'"):
        Manifest.model_validate(told)
