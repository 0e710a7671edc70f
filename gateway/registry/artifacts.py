"""The artifact store: bundles by the digest of their content, on anything that fsspec speaks.

Under the root, ``blobs/HEX`` is a file by the digest of its content, and ``bundles/HEX`` the
``digests.json`` of a bundle by its own; ``bundles/HEX.sig`` is its signature.  The digests are
written last: a bundle that can be found is whole.
"""

import io
import json
import os
import re
import shutil
import uuid
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from gateway.errors import BundleRefusedError
from models.bundle import Bundle
from models.errors import BundleError
from models.opening import open_verified
from models.seal import DIGESTS_FILE, SIGNATURE_FILE, check_content, read_seal
from models.signing import digest as digest_of

COPY_BYTES = 1 << 20

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class ArtifactStore:
    """Keeps bundles for good.  Safe to use from several processes and nodes at once."""

    def __init__(self, url: str) -> None:
        filesystem, root = fsspec.core.url_to_fs(url)
        self._files: Any = filesystem
        self._local = isinstance(filesystem, LocalFileSystem)
        self._root = str(root).rstrip("/")
        for folder in ("blobs", "bundles"):
            filesystem.makedirs(f"{self._root}/{folder}", exist_ok=True)

    def put(self, bundle_dir: Path) -> str:
        """Keep a bundle and return its digest; on disk before it returns, if the store is local.

        Raises:
            BundleError: the directory is not what its own digests say.
        """
        sealed, signature = read_seal(bundle_dir)
        digests = check_content(bundle_dir, sealed)
        digest = digest_of(sealed)
        if self._files.exists(self._bundle(digest)):
            return digest
        for name, content in digests.items():
            if not self._files.exists(self._blob(content)):
                with (bundle_dir / name).open("rb") as file:
                    self._write(self._blob(content), file)
        self._write(self._bundle(digest) + ".sig", io.BytesIO(signature))
        self._write(self._bundle(digest), io.BytesIO(sealed))
        return digest

    def fetch(self, digest: str, cache_dir: Path) -> Path:
        """Return a directory that holds the bundle; it is verified once, when it is made.

        Raises:
            BundleRefusedError: the store lacks it, or holds something else under its name.
        """
        target = cache_dir / _hex(digest)
        if target.is_dir():
            return target
        cache_dir.mkdir(parents=True, exist_ok=True)
        staging = cache_dir / f".{target.name}.{uuid.uuid4().hex}"
        staging.mkdir()
        try:
            self._materialise(digest, staging)
            _rename_unless_there(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return target

    def open_bundle(self, digest: str, cache_dir: Path) -> Bundle:
        """Fetch a bundle and open it, verified.

        Raises:
            BundleRefusedError: as `fetch` says.
            BundleError: it is no longer what was registered.
        """
        return open_verified(self.fetch(digest, cache_dir), digest)

    def read(self, digest: str, name: str) -> bytes | None:
        """Read one file of a bundle without fetching the rest; None if the bundle lacks it.

        Raises:
            BundleRefusedError: the store lacks the bundle, or holds something else.
        """
        try:
            sealed = self._read_sealed(digest)
            content = json.loads(sealed).get(name)
            if content is None:
                return None
            found: bytes = self._files.cat_file(self._blob(content))
        except FileNotFoundError as error:
            raise BundleRefusedError(f"the artifact store does not hold all of {digest}") from error
        if digest_of(found) != content:
            raise BundleRefusedError(f"the artifact store, {digest}: {name} is another file")
        return found

    def _read_sealed(self, digest: str) -> bytes:
        """Read the digests of a bundle, which have the digest that is its name."""
        sealed: bytes = self._files.cat_file(self._bundle(digest))
        if digest_of(sealed) != digest:
            raise BundleRefusedError(f"the artifact store holds something else as {digest}")
        return sealed

    def _materialise(self, digest: str, staging: Path) -> None:
        """Fill ``staging`` and compare every file with the digest."""
        try:
            sealed = self._read_sealed(digest)
            (staging / DIGESTS_FILE).write_bytes(sealed)
            signature = self._files.cat_file(self._bundle(digest) + ".sig")
            (staging / SIGNATURE_FILE).write_bytes(signature)
            # `put` checked the names before these very bytes were kept.
            for name, content in json.loads(sealed).items():
                self._files.get_file(self._blob(content), str(staging / name))
            check_content(staging, sealed)
        except FileNotFoundError as error:
            raise BundleRefusedError(f"the artifact store does not hold all of {digest}") from error
        except BundleError as error:
            raise BundleRefusedError(f"the artifact store, {digest}: {error.problem}") from error

    def _write(self, path: str, source: BinaryIO) -> None:
        """Write one object so that nobody ever sees half of it."""
        part = f"{path}.{uuid.uuid4().hex}"
        with self._files.open(part, "wb") as file:
            shutil.copyfileobj(source, file, COPY_BYTES)
            if self._local:
                file.flush()
                os.fsync(file.fileno())
        self._files.mv(part, path)
        if self._local:
            _sync_directory(Path(path).parent)

    def _blob(self, digest: str) -> str:
        return f"{self._root}/blobs/{_hex(digest)}"

    def _bundle(self, digest: str) -> str:
        return f"{self._root}/bundles/{_hex(digest)}"


def _hex(digest: str) -> str:
    found = _DIGEST.fullmatch(digest)
    if found is None:
        raise BundleRefusedError("a bundle's digest is sha256: and 64 hexadecimal digits")
    return found[1]


def _rename_unless_there(source: Path, target: Path) -> None:
    """Move a finished directory into place; whoever came first wins, with the same content."""
    try:
        source.rename(target)
    except OSError:  # ENOTEMPTY or EEXIST, by platform
        if not target.is_dir():
            raise


def _sync_directory(path: Path) -> None:
    """Make the names in a directory as durable as the files."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
