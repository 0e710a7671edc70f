import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from models.errors import KeyFileError
from models.signing import SigningKey, TrustedKeys, bundle_digest, digest, file_digest

KEY = SigningKey.create()
TRUSTED = TrustedKeys.of([SigningKey.create().public, KEY.public])


@given(message=st.binary(max_size=200))
def test_what_a_trusted_key_signed_is_verified_and_names_the_key(message: bytes) -> None:
    assert TRUSTED.verify(message, KEY.sign(message)) == KEY.key_id


@given(message=st.binary(min_size=1, max_size=50), data=st.data())
def test_no_changed_bit_of_message_or_signature_is_verified(
    message: bytes, data: st.DataObject
) -> None:
    signed = bytearray(message + KEY.sign(message))
    signed[data.draw(st.integers(0, len(signed) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    changed, signature = bytes(signed[: len(message)]), bytes(signed[len(message) :])
    assert TRUSTED.verify(changed, signature) is None


@pytest.mark.parametrize("signature", [b"", b"short", b"0" * 65])
def test_a_signature_of_the_wrong_length_is_not_verified(signature: bytes) -> None:
    assert TRUSTED.verify(b"message", signature) is None


def test_a_key_comes_back_from_its_file_which_only_its_owner_reads(tmp_path: Path) -> None:
    KEY.save(tmp_path / "key.pem")

    assert SigningKey.load(tmp_path / "key.pem").key_id == KEY.key_id
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600


def test_saving_a_key_never_replaces_another(tmp_path: Path) -> None:
    KEY.save(tmp_path / "key.pem")

    with pytest.raises(FileExistsError):
        SigningKey.create().save(tmp_path / "key.pem")


def test_published_keys_are_trusted_from_their_directory(tmp_path: Path) -> None:
    other = SigningKey.create()
    KEY.publish(tmp_path / "trusted")
    other.publish(tmp_path / "trusted")

    trusted = TrustedKeys.load(tmp_path / "trusted")
    assert set(trusted.by_id) == {KEY.key_id, other.key_id}


def test_a_directory_that_is_not_there_trusts_nobody(tmp_path: Path) -> None:
    assert TrustedKeys.load(tmp_path / "nowhere").verify(b"m", KEY.sign(b"m")) is None


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    other = X25519PrivateKey.generate()
    (tmp_path / "private.pem").write_bytes(
        other.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (tmp_path / "other.pub").write_bytes(
        other.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )

    with pytest.raises(KeyFileError, match=r"key private\.pem: not an Ed25519 key"):
        SigningKey.load(tmp_path / "private.pem")
    with pytest.raises(KeyFileError, match=r"key other\.pub: not an Ed25519 key"):
        TrustedKeys.load(tmp_path)


def test_a_file_that_holds_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(b"not a key")
    (tmp_path / "key.pub").write_bytes(b"not a key")

    with pytest.raises(KeyFileError, match="not an unencrypted private key"):
        SigningKey.load(tmp_path / "key.pem")
    with pytest.raises(KeyFileError, match="not a public key"):
        TrustedKeys.load(tmp_path)


@given(content=st.binary(max_size=100))
def test_a_file_and_its_bytes_have_one_digest(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "file"
    path.write_bytes(content)

    assert file_digest(path) == digest(content)


def test_a_bundle_digest_does_not_depend_on_the_order_of_its_files() -> None:
    assert bundle_digest({"a": "1", "b": "2"}) == bundle_digest({"b": "2", "a": "1"})
    assert bundle_digest({"a": "1", "b": "2"}) != bundle_digest({"a": "2", "b": "1"})
