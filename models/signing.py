"""Digests, keys, signatures: who vouches for which bytes."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from models.errors import KeyFileError

SIGNATURE_BYTES = 64  # Ed25519, RFC 8032 section 5.1.6


def digest(content: bytes) -> str:
    """Name bytes by their content."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def file_digest(path: Path) -> str:
    """Name a file by its content, without holding it in memory."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def canonical_bytes(digests: Mapping[str, str]) -> bytes:
    """Write ``digests.json`` in the one way that is accepted: sorted, compact, ASCII."""
    return json.dumps(dict(digests), sort_keys=True, separators=(",", ":")).encode()


def bundle_digest(digests: Mapping[str, str]) -> str:
    """Name a bundle by the digests of its files."""
    return digest(canonical_bytes(digests))


class SigningKey:
    """An Ed25519 private key; whoever holds it can vouch for a bundle."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @classmethod
    def create(cls) -> Self:
        """Draw a fresh key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key that `save` wrote.

        Raises:
            KeyFileError: the file is not an unencrypted Ed25519 private key in PEM.
        """
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise KeyFileError(path.name, "not an unencrypted private key in PEM") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFileError(path.name, "not an Ed25519 key")
        return cls(key)

    def save(self, path: Path) -> None:
        """Write the private key to a new file that only its owner can read."""
        pem = self._private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        # O_EXCL: the mode below holds only for a file that this call creates.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)

    def publish(self, directory: Path) -> Path:
        """Write the public half as ``<key id>.pub`` where `TrustedKeys.load` looks."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.key_id.removeprefix('sha256:')[:16]}.pub"
        path.write_bytes(
            self.public.public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        return path

    @property
    def public(self) -> Ed25519PublicKey:
        """The half that may be shown to anyone."""
        return self._private.public_key()

    @property
    def key_id(self) -> str:
        """Digest of the public half."""
        return key_id(self.public)

    def sign(self, message: bytes) -> bytes:
        """Vouch for ``message``."""
        return self._private.sign(message)


def key_id(public: Ed25519PublicKey) -> str:
    """Name a key by the digest of its 32 public bytes."""
    return digest(public.public_bytes_raw())


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """The public keys whose word is taken; empty trusts nobody."""

    by_id: Mapping[str, Ed25519PublicKey]

    @classmethod
    def of(cls, keys: Iterable[Ed25519PublicKey]) -> Self:
        """Trust exactly these keys."""
        return cls(MappingProxyType({key_id(key): key for key in keys}))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Trust every ``*.pub`` PEM file in ``directory``; a missing directory trusts nobody.

        Raises:
            KeyFileError: one of the files is not an Ed25519 public key.
        """
        return cls.of(_load_public(path) for path in sorted(directory.glob("*.pub")))

    def verify(self, message: bytes, signature: bytes) -> str | None:
        """Return the id of the trusted key that signed ``message``, None if none did."""
        for name, key in self.by_id.items():
            try:
                key.verify(signature, message)
            except InvalidSignature:
                continue
            return name
        return None


def _load_public(path: Path) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(path.name, "not a public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(path.name, "not an Ed25519 key")
    return key
