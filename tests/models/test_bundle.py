"""What a bundle holds comes back as it was packed, and nothing of it is believed or run."""

import io
import mmap
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle, load_golden, load_guards, load_reference
from models.errors import BundleError
from models.examples.mlp import ordinary_rows
from models.opening import open_bundle
from models.seal import seal
from models.signing import SigningKey, TrustedKeys


def test_guards_come_back_as_they_were_packed_to_the_last_bit(packed: Bundle) -> None:
    rows = ordinary_rows(300, np.random.default_rng(1))
    rows[::7] *= 20

    first, second = load_guards(packed), load_guards(packed)
    assert first.outlier is not None
    assert second.outlier is not None
    here, there = first.outlier.check(rows), second.outlier.check(rows)

    assert np.array_equal(np.asarray(here.p_values), np.asarray(there.p_values))
    assert here.threshold == there.threshold
    assert here.actions.any()
    assert first.schema.check(rows).actions.any()


def test_the_reference_is_mapped_and_shared_not_copied(packed: Bundle) -> None:
    outlier = load_guards(packed).outlier
    assert outlier is not None

    neighbours = outlier._detector.neighbours
    for array in (neighbours.points, neighbours.search):
        base: object = array
        while isinstance(base, np.ndarray):
            base = base.base
        assert isinstance(base, mmap.mmap)
        assert type(array) is np.ndarray  # a memmap is slow to compute with
        assert not array.flags.writeable


def test_a_reference_of_other_rows_than_the_guards_is_refused(
    copy: Path, key: SigningKey, trusted: TrustedKeys
) -> None:
    search = np.load(copy / "outlier-search.npy")
    np.save(copy / "outlier-search.npy", search[:, :-16])
    seal(copy, key)

    with pytest.raises(BundleError, match="does not hold the state of the outlier guard"):
        load_guards(open_bundle(copy, trusted))


def test_the_reference_keeps_inputs_outputs_and_labels_together(packed: Bundle) -> None:
    reference = load_reference(packed)

    assert reference.labels is not None
    assert len(reference.labels) == 200
    assert reference.inputs["features"].shape == (200, 30)
    assert reference.outputs["probabilities"].shape == (200, 2)


def test_golden_rows_hold_raw_inputs_features_and_outputs(packed: Bundle) -> None:
    golden = load_golden(packed)

    np.testing.assert_array_equal(golden.inputs["features"], golden.features)
    assert golden.outputs["probabilities"].shape == (16, 2)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + b"\0" * 18])
def test_a_guards_file_without_the_guards_is_refused(
    copy: Path, key: SigningKey, trusted: TrustedKeys, content: bytes
) -> None:
    (copy / "guards.npz").write_bytes(content)
    seal(copy, key)
    bundle = open_bundle(copy, trusted)

    with pytest.raises(BundleError, match=r"guards\.npz does not hold"):
        load_guards(bundle)


def test_an_array_that_lies_about_its_size_is_refused(
    copy: Path, key: SigningKey, trusted: TrustedKeys
) -> None:
    header = io.BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(copy / "guards.npz", "w") as archive:
        archive.writestr("outlier/centre.npy", header.getvalue())
    seal(copy, key)
    bundle = open_bundle(copy, trusted)

    with pytest.raises(BundleError, match="does not hold plain arrays"):
        load_guards(bundle)


def test_an_archive_that_unpacks_to_too_much_is_refused(
    copy: Path, key: SigningKey, trusted: TrustedKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.bundle.MAX_ARRAYS_BYTES", 1 << 20)
    with zipfile.ZipFile(copy / "guards.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.npy", bytes(2 << 20))
    seal(copy, key)
    bundle = open_bundle(copy, trusted)

    with pytest.raises(BundleError, match="unpacks to"):
        load_guards(bundle)


def test_a_pickled_array_is_refused_and_not_run(
    copy: Path, key: SigningKey, trusted: TrustedKeys, tmp_path: Path
) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    np.savez(copy / "guards.npz", allow_pickle=True, **{"outlier/centre": np.array([Trap()])})
    seal(copy, key)
    bundle = open_bundle(copy, trusted)

    with pytest.raises(BundleError, match="does not hold plain arrays"):
        load_guards(bundle)
    assert not (tmp_path / "sprung").exists()


def test_a_file_that_changes_after_opening_is_not_used(copy: Path, trusted: TrustedKeys) -> None:
    bundle = open_bundle(copy, trusted)
    (copy / "guards.npz").write_bytes(b"changed")

    with pytest.raises(BundleError, match="does not have the digest"):
        load_guards(bundle)
