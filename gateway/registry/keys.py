"""Keys: who may call what, and who vouches for bundles made on this machine."""

import hashlib
import hmac
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sqlalchemy import Engine, insert, select

from gateway.registry import tables
from gateway.registry.database import reading
from models.errors import KeyFileError
from models.signing import SigningKey, TrustedKeys

Right = Literal["infer", "feedback", "read", "register", "operate", "audit"]
Role = Literal["infer", "feedback", "register", "operate", "audit", "admin"]

SALT_BYTES = 32

# Separated: who uploads a version does not route traffic to it, and the other way round.
GRANTS: Mapping[Role, frozenset[Right]] = {
    "infer": frozenset({"infer"}),
    "feedback": frozenset({"feedback"}),
    "register": frozenset({"read", "register"}),
    "operate": frozenset({"read", "audit", "operate"}),
    "audit": frozenset({"read", "audit"}),
    "admin": frozenset(get_args(Right)),
}

REFRESH_S = 1.0  # how old the hashes in memory may be: a new key works everywhere after this
SECRET_BYTES = 32

_PREFIX = "hk_"  # lets secret scanners find a leaked key
_NOBODY = "0" * 64  # compared with when the id is unknown, so that the work is the same


@dataclass(frozen=True, slots=True)
class Caller:
    """Who holds a key."""

    key_id: str
    role: Role
    label: str

    def may(self, right: Right) -> bool:
        """Whether the role has this right."""
        return right in GRANTS[self.role]

    def __str__(self) -> str:
        """As the audit trail names the caller."""
        return f"{self.label} ({self.key_id})"


class ApiKeys:
    """Keys of 256 random bits; the database holds their SHA-256 only.

    A plain hash is enough: there is nothing to guess in a random key, and a slow one
    would be a way to exhaust the gateway.
    """

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._known: Mapping[str, tuple[str, Caller]] = {}
        self._loaded_s = float("-inf")

    def create(self, role: Role, label: str) -> str:
        """Make a key.  It is returned once and cannot be shown again."""
        key = draw_key()
        self.keep(key, role, label)
        return key

    def verify(self, key: str) -> Caller | None:
        """Find who holds ``key``; None if nobody does."""
        expected, caller = self._hashes().get(_key_id(key), (_NOBODY, None))
        return caller if hmac.compare_digest(_sha256(key), expected) else None

    def has_admin(self) -> bool:
        """Whether anybody holds an admin key."""
        return any(caller.role == "admin" for _, caller in self._hashes().values())

    def keep(self, key: str, role: Role, label: str) -> None:
        """Let a key of `draw_key` work; on disk before it returns."""
        row = {
            "id": _key_id(key),
            "sha256": _sha256(key),
            "role": role,
            "label": label,
            "created_at_s": time.time(),
        }
        with self._engine.begin() as connection:
            connection.execute(insert(tables.api_keys).values(row))
        with self._lock:
            self._loaded_s = float("-inf")

    def _hashes(self) -> Mapping[str, tuple[str, Caller]]:
        """All hashes by key id, at most `REFRESH_S` old."""
        with self._lock:
            if self._clock() - self._loaded_s > REFRESH_S:
                loaded_s = self._clock()
                with reading(self._engine) as connection:
                    rows = connection.execute(select(tables.api_keys)).all()
                self._known = {r.id: (r.sha256, Caller(r.id, r.role, r.label)) for r in rows}
                self._loaded_s = loaded_s
            return self._known


def draw_key() -> str:
    """Draw a key: an id that may be logged, and a secret."""
    return f"{_PREFIX}{secrets.token_hex(4)}.{secrets.token_urlsafe(SECRET_BYTES)}"


def ensure_admin(keys: ApiKeys, keys_dir: Path) -> str | None:
    """On the first start, make an admin key and leave it where local commands find it.

    Returns:
        The key, to be shown once; None if there was an admin already.
    """
    if keys.has_admin():
        return None
    key = draw_key()
    # The file first: after a crash in between it opens nothing, and the next start makes another.
    _write_private(admin_key_file(keys_dir), key + "\n")
    keys.keep(key, "admin", "first start")
    return key


def admin_key_file(keys_dir: Path) -> Path:
    """Where local commands look for the admin key."""
    return keys_dir / "admin.key"


def local_signing_key(keys_dir: Path) -> SigningKey:
    """Load the key that signs bundles made here; make and trust it on the first call.

    Raises:
        KeyFileError: the file does not hold such a key.
    """
    path = keys_dir / "signing.pem"
    trusted = keys_dir / "trusted"
    trusted.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=keys_dir) as fresh:
        if not path.exists():
            SigningKey.create().save(Path(fresh) / path.name)
            with suppress(FileExistsError):  # another process came first: its key is the one
                os.link(Path(fresh) / path.name, path)
        key = SigningKey.load(path)
        public = key.publish(Path(fresh))
        public.replace(trusted / public.name)  # whole at any time for whoever reads it
    return key


def exploration_salt(keys_dir: Path) -> bytes:
    """Load the secret of the exploration draws; made once, so that replays stay possible.

    Raises:
        KeyFileError: the file does not hold one: an empty secret would be known to everybody.
    """
    path = keys_dir / "explore.salt"
    keys_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=keys_dir) as fresh:  # nobody else may enter
            draft = Path(fresh) / path.name
            draft.write_bytes(secrets.token_bytes(SALT_BYTES))
            draft.chmod(0o600)
            with suppress(FileExistsError):  # another process came first: its secret is the one
                os.link(draft, path)
    salt = path.read_bytes()
    if len(salt) < SALT_BYTES:
        raise KeyFileError(path.name, f"{len(salt)} bytes are no secret")
    return salt


def trusted_keys(keys_dir: Path) -> TrustedKeys:
    """Load whose signatures are accepted: every ``trusted/*.pub``.

    Raises:
        KeyFileError: one of the files does not hold a public key.
    """
    return TrustedKeys.load(keys_dir / "trusted")


def _key_id(key: str) -> str:
    return key.partition(".")[0].removeprefix(_PREFIX)


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _write_private(path: Path, content: str) -> None:
    """Put a file in place that only its owner can read, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    part.replace(path)
