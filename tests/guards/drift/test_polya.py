"""The urn is exactly fair, also where the reference is tiny."""

import numpy as np
import pytest

from guards.drift.cells import count
from guards.drift.polya import is_exact, polya_evidence
from guards.drift.reference import Channel, Reference

STREAMS, N_REF, ALPHA = 300, 60, 0.05
CHECKS = (5, 10, 20, 40, 80, 160, 320)


def _peak(shift: float, seed: int) -> float:
    """Largest evidence at any of the checks."""
    rng = np.random.default_rng(seed)
    reference = Reference.fit([Channel("x", rng.normal(size=N_REF))])
    codes = reference.layout.codes(rng.normal(shift, 1, size=(max(CHECKS), 1)))
    return max(polya_evidence(reference, count(codes[:n])[0], channel=0) for n in CHECKS)


def test_false_alarms_are_as_rare_as_stated_although_one_keeps_looking() -> None:
    alarms = np.mean([_peak(0, seed) >= -np.log(ALPHA) for seed in range(STREAMS)])

    assert alarms <= ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / STREAMS)


def test_a_shift_is_found_with_sixty_reference_rows() -> None:
    assert np.mean([_peak(1, seed) >= -np.log(ALPHA) for seed in range(50)]) > 0.6


def test_evidence_is_fair_over_references_and_traffic_together() -> None:
    rng = np.random.default_rng(3)
    wealth = []
    for _ in range(4000):
        reference = Reference.fit([Channel("x", rng.random(10))])
        counts = count(reference.layout.codes(rng.random((3, 1))))[0]
        wealth.append(np.exp(polya_evidence(reference, counts, channel=0)))

    assert abs(np.mean(wealth) - 1) <= 4 * np.std(wealth) / np.sqrt(len(wealth))


def test_ties_have_no_urn() -> None:
    reference = Reference.fit([Channel("x", np.repeat([1.0, 2.0], 30))])

    assert not is_exact(reference, 0)
    with pytest.raises(ValueError, match="x has ties"):
        polya_evidence(reference, reference.counts[0], channel=0)
