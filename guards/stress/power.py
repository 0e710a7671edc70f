"""The power card: how much of each kind of spoilt row the guards of a model notice.

A threshold promises how often ordinary rows are judged strange; nothing promises that strange rows
are.  So it is measured before the model serves, with pseudo-anomalies that need no labels.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from guards.settings import Settings
from guards.stress.rate import Rate

Samples = NDArray[Any]  # (n, ...): rows of numbers, or texts
Spoil = Callable[[Samples, np.random.Generator], Samples]
Notice = Callable[[Samples], NDArray[np.bool_]]  # samples (n, ...) -> (n,)

ANY = "any"


class Promise(Settings):
    """What the outlier guard promises about ordinary rows, and what it is made of."""

    alpha: float
    delta: float
    n: int = Field(description="Calibration rows.")
    rank: int = Field(description="The threshold is the r-th largest calibration score.")
    mode: Literal["marginal", "pac", "cross"]
    threshold: float = Field(description="Largest p-value that counts as strange.")
    detector: str


class ProbePower(Settings):
    """How many rows, spoilt in one way, were noticed: by each guard, and by any."""

    probe: str
    noticed: dict[str, Rate]


class PowerCard(Settings):
    """What the input guards of one model version notice.

    Rates are about rows like the held-out ones, spoilt as described and no worse; a guard that
    sees all of these may miss what nobody thought of.
    """

    promise: Promise | None = Field(description="None: the model has no outlier guard.")
    ordinary: ProbePower = Field(
        description="Held-out rows as they are.  The outlier threshold was set on them: this is no "
        "test of it."
    )
    probes: tuple[ProbePower, ...]
    skipped: tuple[str, ...] = Field(description="Probes that the time did not suffice for.")
    seed: int

    def power(self, probe: str) -> Rate:
        """How much of one probe any guard noticed.

        Raises:
            KeyError: it was not measured.
        """
        by_name = {measured.probe: measured for measured in self.probes}
        return by_name[probe].noticed[ANY]


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be spent on a power card."""

    rows: int = 512  # per probe: a share of 0.9 is known to within 0.03
    seconds: float = 5.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, and what there was no time for."""

    ordinary: ProbePower
    probes: tuple[ProbePower, ...]
    skipped: tuple[str, ...]


def measure(
    probes: Mapping[str, Spoil],
    ordinary: Samples,
    guards: Mapping[str, Notice],
    *,
    budget: Budget,
    clock: Callable[[], float],
) -> Measured:
    """Spoil ordinary samples in every way and count what each guard notices.

    A probe draws from the seed and its own name: what it finds does not depend on which others
    there was time for.

    Args:
        probes: What to try, the most telling first.
        ordinary: Samples that no guard was fitted on, shape (n, ...).
        guards: By name, which of some samples each of them notices.
        budget: Rows per probe and seconds for all; a probe that began is finished.
        clock: Monotonic, in seconds.
    """
    ends_s = clock() + budget.seconds
    drawn = np.random.default_rng(budget.seed).permutation(len(ordinary))[: budget.rows]
    samples = ordinary[np.sort(drawn)]
    found, skipped = [], []
    untouched = _count("ordinary", samples, guards)
    for name, spoil in probes.items():
        if clock() > ends_s:
            skipped.append(name)
            continue
        rng = np.random.default_rng([budget.seed, zlib.crc32(name.encode())])
        found.append(_count(name, spoil(samples, rng), guards))
    return Measured(untouched, tuple(found), tuple(skipped))


def _count(probe: str, samples: Samples, guards: Mapping[str, Notice]) -> ProbePower:
    by_any = np.zeros(len(samples), np.bool_)
    noticed = {}
    for guard, notice in guards.items():
        seen = notice(samples)
        by_any |= seen
        noticed[guard] = Rate.of(int(seen.sum()), len(samples))
    noticed[ANY] = Rate.of(int(by_any.sum()), len(samples))
    return ProbePower(probe=probe, noticed=noticed)
