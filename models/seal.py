"""The seal of a bundle: which bytes belong to it, and who says so."""

import json
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from models.errors import BundleError
from models.signing import SIGNATURE_BYTES, SigningKey, canonical_bytes, digest, file_digest

DIGESTS_FILE = "digests.json"
SIGNATURE_FILE = "digests.sig"

MAX_FILES = 256  # a large ONNX model spreads its weights over tens of files
MAX_DIGESTS_BYTES = MAX_FILES * 512  # a name of 128 bytes and a digest of 71, with room
MAX_FILE_BYTES = 16 << 30  # the largest predictive models are a few GB

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def seal(path: Path, key: SigningKey) -> str:
    """Write the digests of every file in ``path`` and sign them; return the bundle's digest."""
    sealed = canonical_bytes(digest_files(path))
    (path / DIGESTS_FILE).write_bytes(sealed)
    (path / SIGNATURE_FILE).write_bytes(key.sign(sealed))
    return digest(sealed)


def digest_files(path: Path) -> dict[str, str]:
    """Name every file of a bundle by its content, except the seal itself."""
    files = (entry for entry in path.iterdir() if entry.name not in (DIGESTS_FILE, SIGNATURE_FILE))
    return {file.name: file_digest(file) for file in files}


def read_seal(path: Path) -> tuple[bytes, bytes]:
    """Read the digests and their signature, believing neither."""
    return (
        _read_small(path, DIGESTS_FILE, MAX_DIGESTS_BYTES),
        _read_small(path, SIGNATURE_FILE, SIGNATURE_BYTES),
    )


def check_content(path: Path, sealed: bytes) -> Mapping[str, str]:
    """Compare the directory with its digests, file by file, and return the digests.

    Raises:
        BundleError: the digests are malformed, or a file is missing, extra or different.
    """
    digests = _parse_digests(path.name, sealed)
    _check_files(path, digests)
    return digests


def read_verified(path: Path, file: str, digests: Mapping[str, str]) -> bytes:
    """Read one file and compare it with its digest once more.

    Raises:
        BundleError: it is not the file that was signed.
    """
    content = _read_small(path, file, MAX_FILE_BYTES)
    if digest(content) != digests[file]:
        raise BundleError(path.name, f"{file} does not have the digest that was signed")
    return content


def _parse_digests(name: str, sealed: bytes) -> dict[str, str]:
    try:
        digests = json.loads(sealed)
    except (ValueError, RecursionError) as error:
        raise BundleError(name, f"{DIGESTS_FILE} is not JSON") from error
    if not isinstance(digests, dict) or len(digests) > MAX_FILES:
        raise BundleError(name, f"{DIGESTS_FILE} must map at most {MAX_FILES} files to digests")
    for file, value in digests.items():
        if not _NAME.fullmatch(file) or file in (DIGESTS_FILE, SIGNATURE_FILE):
            raise BundleError(name, f"{DIGESTS_FILE} lists a name that is not a plain file name")
        if not isinstance(value, str) or not _DIGEST.fullmatch(value):
            raise BundleError(name, f"{DIGESTS_FILE} lists a digest that is not sha256")
    # One accepted spelling: repeated keys and other readings of the same bytes cannot exist.
    if canonical_bytes(digests) != sealed:
        raise BundleError(name, f"{DIGESTS_FILE} is not in canonical form")
    return digests


def _check_files(path: Path, digests: Mapping[str, str]) -> None:
    present = {entry.name for entry in path.iterdir()}
    unlisted = present - set(digests) - {DIGESTS_FILE, SIGNATURE_FILE}
    if unlisted:
        raise BundleError(path.name, f"{min(unlisted)!r} is not listed in {DIGESTS_FILE}")
    for file, expected in digests.items():
        _check_regular(path, file, MAX_FILE_BYTES)
        with _readable(path, file):
            found = file_digest(path / file)
        if found != expected:
            raise BundleError(path.name, f"{file} does not have the digest that was signed")


def _check_regular(path: Path, file: str, most_bytes: int) -> None:
    """Refuse what is absent, too large, or leads elsewhere: symbolic links, devices, pipes."""
    with _readable(path, file):
        status = (path / file).lstat()
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(path.name, f"{file} is not a regular file")
    if status.st_size > most_bytes:
        raise BundleError(path.name, f"{file} is larger than {most_bytes} bytes")


def _read_small(path: Path, file: str, most_bytes: int) -> bytes:
    _check_regular(path, file, most_bytes)
    with _readable(path, file):
        return (path / file).read_bytes()


@contextmanager
def _readable(path: Path, file: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise BundleError(path.name, f"{file} is missing") from error
    except OSError as error:
        raise BundleError(path.name, f"{file} cannot be read: {error.strerror}") from error
