"""What `open_bundle` refuses, and that it says why in one sentence."""

import io
import json
import mmap
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle, load_golden, load_guards, load_reference
from models.errors import BundleError
from models.examples.mlp import ordinary_rows
from models.opening import open_bundle, open_verified
from models.seal import MAX_DIGESTS_BYTES, seal
from models.signing import SigningKey, TrustedKeys, canonical_bytes

Rewrite = Callable[[Path, str, str], None]


def refusal(path: Path, trusted: TrustedKeys) -> str:
    with pytest.raises(BundleError) as caught:
        open_bundle(path, trusted)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(path.parent) not in sentence
    return sentence


def reseal_as(path: Path, digests: bytes, key: SigningKey) -> None:
    (path / "digests.json").write_bytes(digests)
    (path / "digests.sig").write_bytes(key.sign(digests))


def digests_of(path: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((path / "digests.json").read_bytes())
    return found


def test_a_packed_bundle_opens_with_its_manifest_and_digest(
    packed: Bundle, trusted: TrustedKeys
) -> None:
    opened = open_bundle(packed.path, trusted)

    assert opened == packed
    assert opened.digest.startswith("sha256:")


def test_a_bundle_opens_again_by_the_digest_it_was_accepted_with(packed: Bundle) -> None:
    assert open_verified(packed.path, packed.digest) == packed


def test_another_digest_than_the_accepted_one_is_refused(packed: Bundle) -> None:
    with pytest.raises(BundleError, match="its digest differs"):
        open_verified(packed.path, "sha256:" + "0" * 64)


@pytest.mark.parametrize(
    "name", ["model.onnx", "model.yaml", "guards.npz", "outlier-search.npy", "golden.npz"]
)
def test_a_changed_file_is_refused(copy: Path, trusted: TrustedKeys, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)

    assert f"{name} does not have the digest" in refusal(copy, trusted)


def test_a_changed_file_is_refused_by_the_recorded_digest_too(copy: Path, packed: Bundle) -> None:
    (copy / "model.onnx").write_bytes(b"another model")

    with pytest.raises(BundleError, match=r"model.onnx does not have the digest"):
        open_verified(copy, packed.digest)


@pytest.mark.parametrize(
    "name", ["model.onnx", "guards.npz", "environment.json", "digests.json", "digests.sig"]
)
def test_a_missing_file_is_refused(copy: Path, trusted: TrustedKeys, name: str) -> None:
    (copy / name).unlink()

    assert f"{name} is missing" in refusal(copy, trusted)


def test_a_bundle_that_is_not_there_is_refused(tmp_path: Path, trusted: TrustedKeys) -> None:
    assert "digests.json is missing" in refusal(tmp_path / "nowhere", trusted)


def test_a_bundle_signed_without_a_required_file_is_refused(
    copy: Path, key: SigningKey, trusted: TrustedKeys
) -> None:
    (copy / "golden.npz").unlink()
    seal(copy, key)

    assert "golden.npz is missing" in refusal(copy, trusted)


def test_a_file_that_the_digests_do_not_list_is_refused(copy: Path, trusted: TrustedKeys) -> None:
    (copy / "extra.py").write_text("print('hello')")

    assert "'extra.py' is not listed" in refusal(copy, trusted)


def test_a_signature_by_an_untrusted_key_is_refused(copy: Path, trusted: TrustedKeys) -> None:
    seal(copy, SigningKey.create())

    assert "not signed by a trusted key" in refusal(copy, trusted)


def test_trusting_nobody_refuses_every_bundle(packed: Bundle) -> None:
    assert "not signed by a trusted key" in refusal(packed.path, TrustedKeys.of([]))


def test_a_broken_signature_is_refused(copy: Path, trusted: TrustedKeys) -> None:
    signature = bytearray((copy / "digests.sig").read_bytes())
    signature[0] ^= 1
    (copy / "digests.sig").write_bytes(signature)

    assert "not signed by a trusted key" in refusal(copy, trusted)


def test_digests_changed_after_signing_are_refused(copy: Path, trusted: TrustedKeys) -> None:
    (copy / "model.onnx").write_bytes(b"another model")
    changed = {**digests_of(copy), "model.onnx": "sha256:" + "0" * 64}
    (copy / "digests.json").write_bytes(canonical_bytes(changed))

    assert "not signed by a trusted key" in refusal(copy, trusted)


@pytest.mark.parametrize("target", ["inside", "outside"])
def test_a_symbolic_link_is_refused(
    copy: Path, tmp_path: Path, trusted: TrustedKeys, target: str
) -> None:
    elsewhere = tmp_path / "elsewhere.onnx"
    (copy / "model.onnx").rename(elsewhere)
    (copy / "model.onnx").symlink_to(elsewhere if target == "outside" else "guards.npz")

    assert "model.onnx is not a regular file" in refusal(copy, trusted)


def test_a_pipe_is_refused_without_reading_it(copy: Path, trusted: TrustedKeys) -> None:
    (copy / "model.onnx").unlink()
    os.mkfifo(copy / "model.onnx")

    assert "model.onnx is not a regular file" in refusal(copy, trusted)


@pytest.mark.parametrize(
    "name", ["../model.onnx", "/etc/passwd", "a/b", "..", ".hidden", "", "x\n", "digests.json"]
)
def test_a_listed_name_that_leads_elsewhere_is_refused(
    copy: Path, key: SigningKey, trusted: TrustedKeys, name: str
) -> None:
    digests = {**digests_of(copy), name: "sha256:" + "0" * 64}
    reseal_as(copy, canonical_bytes(digests), key)

    assert "not a plain file name" in refusal(copy, trusted)


@pytest.mark.parametrize(
    ("digests", "problem"),
    [
        (b"", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[]", "must map"),
        (b'{"model.yaml":"md5:0"}', "not sha256"),
        (b'{"model.yaml":1}', "not sha256"),
        (b" {}", "not in canonical form"),
        (b" " * (MAX_DIGESTS_BYTES + 1), "larger than"),
    ],
)
def test_malformed_digests_are_refused(
    copy: Path, key: SigningKey, trusted: TrustedKeys, digests: bytes, problem: str
) -> None:
    reseal_as(copy, digests, key)

    assert problem in refusal(copy, trusted)


def test_a_name_listed_twice_is_refused(copy: Path, key: SigningKey, trusted: TrustedKeys) -> None:
    sealed = (copy / "digests.json").read_bytes()
    twice = sealed[:-1] + b',"model.yaml":"sha256:' + b"0" * 64 + b'"}'
    reseal_as(copy, twice, key)

    assert "not in canonical form" in refusal(copy, trusted)


def test_an_unsupported_runtime_is_refused_with_the_supported_ones(
    copy: Path, key: SigningKey, trusted: TrustedKeys, rewrite: Rewrite
) -> None:
    rewrite(copy, "kind: onnx", "kind: pickle")
    seal(copy, key)

    sentence = refusal(copy, trusted)
    assert "model.yaml: runtime.kind" in sentence
    assert "'onnx', 'torch', 'safetensors' or 'constant'" in sentence


def test_a_runtime_file_that_is_not_in_the_bundle_is_refused(
    copy: Path, key: SigningKey, trusted: TrustedKeys, rewrite: Rewrite
) -> None:
    rewrite(copy, "file: model.onnx", "file: other.onnx")
    seal(copy, key)

    assert "runtime.file is not in the bundle" in refusal(copy, trusted)


def test_a_torch_program_is_refused_unless_code_is_trusted(
    copy: Path, key: SigningKey, trusted: TrustedKeys, rewrite: Rewrite
) -> None:
    rewrite(copy, "kind: onnx", "kind: torch")
    seal(copy, key)

    assert "pass --trust-code" in refusal(copy, trusted)
    assert open_bundle(copy, trusted, trust_code=True).manifest.runtime.kind == "torch"


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
