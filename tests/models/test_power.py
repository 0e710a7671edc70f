"""A bundle says what its guards notice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guards.outlier.choice import TELLING
from guards.outlier.guard import OutlierGuard, OutlierSettings
from guards.output.guard import OutputGuard
from guards.output.settings import OutputSettings
from guards.schema import SchemaGuard, SchemaSettings
from guards.stress.images import CORRUPTIONS
from guards.stress.power import Budget, PowerCard
from guards.stress.probes import PROBES
from models.bundle import Bundle, GuardSet, load_power_card
from models.errors import BundleError
from models.manifest import Signature
from models.opening import open_bundle
from models.outlier import telling_probes
from models.power import draw_power_card
from models.seal import seal
from models.signing import SigningKey, TrustedKeys


def signature(*shapes: tuple[int, ...], datatype: str = "FP32") -> Signature:
    return Signature.model_validate(
        {
            "inputs": [
                {"name": f"x{at}", "datatype": datatype, "shape": (-1, *shape)}
                for at, shape in enumerate(shapes)
            ],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": (-1, 1)}],
        }
    )


def draw(spec: Signature, inputs: dict[str, Any], *, rows: int = 50) -> PowerCard | None:
    flat = [array.reshape(len(array), -1) for array in inputs.values() if array.dtype != object]
    outlier = None
    if flat:
        table = np.concatenate(flat, axis=1).astype(np.float64)
        settings = OutlierSettings(alpha=0.05)
        outlier = OutlierGuard.fit(table[::2], table[1::2], settings)
    guards = GuardSet(SchemaGuard(SchemaSettings()), outlier, OutputGuard(OutputSettings()))
    return draw_power_card(
        spec,
        guards,
        inputs,
        predict=lambda _: {},  # the outlier guard judges features
        budget=Budget(rows=rows),
        clock=lambda: 0.0,
    )


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((300, *shape)).astype(np.float32)


def test_a_packed_bundle_carries_its_card(packed: Bundle) -> None:
    card = load_power_card(packed)

    assert card is not None
    assert card.promise is not None
    assert (card.promise.alpha, card.promise.n, card.promise.rank) == (0.05, 100, 2)
    assert [probe.probe for probe in card.probes] == list(PROBES)
    assert set(card.ordinary.noticed) == {"schema", "outlier", "any"}
    assert card.power("missing").share == 1.0
    assert "power.json" in packed.digests


def test_a_bundle_from_before_has_no_card(
    copy: Path, key: SigningKey, trusted: TrustedKeys
) -> None:
    (copy / "power.json").unlink()
    seal(copy, key)

    assert load_power_card(open_bundle(copy, trusted)) is None


@pytest.mark.parametrize("content", [b"", b"[]", b'{"probes": []}', b"{" * 2000, b"\xff", b"NaN"])
def test_a_card_that_is_none_is_refused_at_registration(
    copy: Path, key: SigningKey, trusted: TrustedKeys, content: bytes
) -> None:
    (copy / "power.json").write_bytes(content)
    seal(copy, key)

    with pytest.raises(BundleError, match=r"power\.json: not a power card"):
        open_bundle(copy, trusted)


def test_a_card_too_large_is_refused(copy: Path, key: SigningKey, trusted: TrustedKeys) -> None:
    (copy / "power.json").write_bytes(b" " * (1 << 20) + b"{}")
    seal(copy, key)

    with pytest.raises(BundleError, match="larger than"):
        open_bundle(copy, trusted)


def test_rows_with_gaps_are_measured_too() -> None:
    """A model whose rows always have a gap somewhere would have an empty card else."""
    table = numbers(6)
    table[np.arange(300), np.arange(300) // 2 % 6] = np.nan

    card = draw(signature((6,)), {"x0": table})

    assert card is not None
    assert card.ordinary.noticed["any"].rows == 50
    assert card.power("unit_error_100").share == 1.0


def test_near_and_far_are_measured_apart() -> None:
    """All guards see what is far away; a card of that alone would tell nothing."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(600, 2)) @ rng.normal(size=(2, 6)) + 0.3 * rng.normal(size=(600, 6))

    card = draw(signature((6,)), {"x0": table.astype(np.float32)}, rows=300)

    assert card is not None
    far, near = card.power("unit_error_100"), card.power("partial_replacement")
    assert near.high < far.low
    assert near.low > card.ordinary.noticed["any"].high


def test_images_are_corrupted_too() -> None:
    card = draw(signature((8, 9)), {"x0": numbers(8, 9)})

    assert card is not None
    probes = {probe.probe for probe in card.probes}
    assert probes == set(PROBES) | {f"{kind}_{s}" for kind in CORRUPTIONS for s in (1, 2, 3)}


def test_two_images_are_told_apart_and_a_table_beside_them_is_none() -> None:
    inputs = {"x0": numbers(8, 8), "x1": numbers(3), "x2": numbers(3, 8, 8)}
    card = draw(signature((8, 8), (3,), (3, 8, 8)), inputs, rows=20)

    assert card is not None
    named = {probe.probe.partition(".")[0] for probe in card.probes if "." in probe.probe}
    assert named == {"x0", "x2"}


def test_text_alone_has_nothing_to_spoil() -> None:
    texts = np.array([[b"one"], [b"two"]], object)

    assert draw(signature((1,), datatype="BYTES"), {"x0": texts}) is None


def test_a_packer_may_spend_less(
    repack: Callable[..., Bundle], packed: Bundle, tmp_path: Path
) -> None:
    budget = Budget(rows=10, seconds=5.0)
    card = load_power_card(
        repack(packed.path / "model.onnx", tmp_path / "out", power_budget=budget)
    )

    assert card is not None
    assert card.ordinary.noticed["any"].rows == 10


def test_what_spoils_images_tells_detectors_apart_where_an_input_is_an_image() -> None:
    rng = np.random.default_rng(0)
    image, table = signature((3, 8, 8)), signature((12,))

    probes = telling_probes(image, rng.random((40, 192)))
    assert len(probes) == len(CORRUPTIONS)
    assert len(telling_probes(table, rng.random((40, 12)))) == len(TELLING)
    assert all(probe(np.zeros((2, 192)), rng).shape == (2, 192) for probe in probes)
