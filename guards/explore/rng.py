"""Randomness that is a function of the decision: no state, same answer on every replica.

A repeated request draws the same action, the order of candidates does not
matter, and a client that chooses its ids cannot steer the draw without the salt.

Source: Vigna's splitmix64 finaliser (Steele, Lea, Flood 2014, "Fast splittable
pseudorandom number generators", OOPSLA) over a BLAKE2b key.
"""

from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = "v1"  # part of every key: another scheme must draw other numbers
ALGORITHM = "blake2b-splitmix64/1"
MIN_SALT_BYTES = 16
LONG_ID_BYTES = 64  # a longer id counts as its digest

Hashes = NDArray[np.uint64]


class RequestRng:
    """Uniform numbers by key and item."""

    def __init__(self, salt: bytes, *, purpose: str) -> None:
        """Tie the numbers to a secret and to what they are for.

        Numbers for another purpose are independent: a hash used twice would
        correlate exploration with, say, the choice of the canary.
        """
        if len(salt) < MIN_SALT_BYTES:
            raise ValueError(f"salt must have at least {MIN_SALT_BYTES} bytes, got {len(salt)}")
        domain = f"{VERSION}|{purpose}|".encode()
        self._keyed = blake2b(domain, key=blake2b(salt).digest(), digest_size=8)

    def uniforms(self, keys: Sequence[str], items: Hashes) -> NDArray[np.float64]:
        """Give each key and item a number in (0, 1], shape (len(keys), items).

        Args:
            keys: One per row.
            items: Shape (m,), the same for every key, or (len(keys), m).
        """
        seeds = np.frombuffer(b"".join(map(self._seed, keys)), "<u8")
        return _unit(np.atleast_2d(_splitmix64(items)) ^ seeds[:, None])

    def scrambled(self, key: str, scrambled: Hashes) -> NDArray[np.float64]:
        """Give one key and every item a number, the items being scrambled already."""
        return _unit(scrambled ^ np.frombuffer(self._seed(key), "<u8"))

    def _seed(self, key: str) -> bytes:
        keyed = self._keyed.copy()
        keyed.update(key.encode(errors="surrogatepass"))
        return keyed.digest()


class Noise:
    """Every number that one decision may need; each purpose has numbers of its own."""

    def __init__(self, rngs: "Rngs", key: str, items: Hashes) -> None:
        self._rngs = rngs
        self._key = key
        self._items = items

    @cached_property
    def _scrambled(self) -> Hashes:
        return _splitmix64(self._items)

    def by_item(self, purpose: str) -> NDArray[np.float64]:
        """Give every item a number in (0, 1], shape (n,), whatever the order of the items."""
        return self._rngs.of(purpose).scrambled(self._key, self._scrambled)

    def series(self, purpose: str, length: int) -> NDArray[np.float64]:
        """Give ``length`` numbers in (0, 1]."""
        return self._rngs.of(purpose).scrambled(self._key, _splitmix64(_counting(length)))


class Rngs:
    """The generators of one model and configuration, by purpose."""

    def __init__(self, salt: bytes, *, domain: str) -> None:
        self._salt = salt
        self._domain = domain
        self._made: dict[str, RequestRng] = {}
        self.of("explore")  # a salt too short is refused now, not with the first request

    def of(self, purpose: str) -> RequestRng:
        """Find or make the generator of a purpose."""
        if purpose not in self._made:
            self._made[purpose] = RequestRng(self._salt, purpose=f"{self._domain}|{purpose}")
        return self._made[purpose]


def salt_id(salt: bytes) -> str:
    """Name a salt without giving it away: records say which one replays them."""
    return blake2b(salt, digest_size=8, person=b"salt id").hexdigest()


def keyed_digest(text: str, salt: bytes) -> str:
    """Hide a name, such as a user's, behind a keyed hash of 16 hex digits."""
    key = blake2b(salt).digest()
    encoded = text.encode(errors="surrogatepass")
    return blake2b(encoded, key=key, digest_size=8, person=b"unit").hexdigest()


def item_hashes(ids: NDArray[Any]) -> Hashes:
    """Give each id a 64-bit number of its own, shape (n,): integers as they are, bytes hashed.

    The hash is no secret and need not be: what a draw is made of is keyed by the salt.
    """
    if ids.dtype != object:
        return ids.astype(np.int64, copy=False).view(np.uint64)
    if len(ids) == 0:
        return np.empty(0, np.uint64)
    lengths = np.fromiter(map(len, ids), np.uint64, len(ids))
    mixed = _splitmix64(lengths)  # fixed-width bytes lose trailing zeros; the length has them
    if int(lengths.max()) > LONG_ID_BYTES:  # one long id would make all as wide
        ids = np.array([_shortened(item) for item in ids.tolist()], np.object_)
        lengths = np.fromiter(map(len, ids), np.uint64, len(ids))
    words = max(1, -(-int(lengths.max()) // 8))
    padded = np.array(ids, dtype=f"S{8 * words}").view("<u8").reshape(len(ids), words)
    for word in range(words):
        is_there = lengths > np.uint64(8 * word)  # padding says nothing of the id
        mixed = np.where(is_there, _splitmix64(mixed ^ padded[:, word]), mixed)
    return mixed


def _shortened(item: bytes) -> bytes:
    """Put a digest in the place of a long id."""
    if len(item) <= LONG_ID_BYTES:
        return item
    return blake2b(item, digest_size=LONG_ID_BYTES, person=b"long id").digest()


def as_ids(ids: Sequence[int | str]) -> NDArray[Any]:
    """Write the ids of a manifest as a request has them: text as bytes."""
    if any(isinstance(item, str) for item in ids):
        held = np.empty(len(ids), np.object_)
        held[:] = [str(item).encode() for item in ids]
        return held
    return np.array(ids, np.int64)


def _counting(length: int) -> Hashes:
    return np.arange(length, dtype=np.uint64)


def _unit(bits: Hashes) -> NDArray[np.float64]:
    """Scramble once more and take 53 bits as a number in (0, 1]."""
    return ((_splitmix64(bits) >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53


def _splitmix64(values: Hashes) -> Hashes:
    """Scramble 64 bits; arithmetic wraps around on purpose, as arrays do silently."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
