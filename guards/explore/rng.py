"""Randomness that is a function of the decision: no state, same answer on every replica.

A repeated request draws the same action, the order of candidates does not
matter, and a client that chooses its ids cannot steer the draw without the salt.

Source: Vigna's splitmix64 finaliser (Steele, Lea, Flood 2014, "Fast splittable
pseudorandom number generators", OOPSLA) over a BLAKE2b key.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

VERSION = "v1"  # part of every key: another scheme must draw other numbers
MIN_SALT_BYTES = 16


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

    def uniforms(self, keys: Sequence[str], items: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Give each key and item a number in (0, 1], shape (len(keys), len(items))."""
        seeds = np.frombuffer(b"".join(map(self._seed, keys)), "<u8")
        bits = _splitmix64(_splitmix64(items)[None, :] ^ seeds[:, None])
        return ((bits >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53

    def _seed(self, key: str) -> bytes:
        keyed = self._keyed.copy()
        keyed.update(key.encode(errors="surrogatepass"))
        return keyed.digest()


def _splitmix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64 bits; arithmetic wraps around on purpose, as arrays do silently."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
