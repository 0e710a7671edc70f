"""What `open_bundle` refuses, and that it says why in one sentence."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from models.bundle import Bundle
from models.errors import BundleError
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
