"""Overridden explored choices are noticed, and honest ones hardly ever suspected."""

import numpy as np

from guards.quality.loop.override import BLOCK, OverrideMonitor

EXPLORED = 0.09  # epsilon 0.1 over ten actions
BATCH = 500


def first_alarm(seed: int, *, overridden: float, decisions: int, honest: int = 0) -> int | None:
    rng = np.random.default_rng(seed)
    monitor = OverrideMonitor.start()
    p = np.full(BATCH, EXPLORED)
    while monitor.decisions < honest + decisions:
        shown = EXPLORED if monitor.decisions < honest else EXPLORED * (1 - overridden)
        monitor = monitor.observe(rng.uniform(size=BATCH) < shown, p)
        if monitor.alarm():
            return monitor.decisions
    return None


def test_ten_percent_overridden_is_noticed_within_twenty_thousand_decisions() -> None:
    noticed = [first_alarm(seed, overridden=0.1, decisions=20_000) for seed in range(200)]

    power = sum(at is not None for at in noticed) / 200
    assert power >= 0.9 - 2 * np.sqrt(0.9 * 0.1 / 200)


def test_an_honest_stream_is_hardly_ever_suspected() -> None:
    false = sum(
        first_alarm(seed, overridden=0, decisions=50_000) is not None for seed in range(200)
    )

    assert false / 200 <= 0.01 + 3 * np.sqrt(0.01 / 200)


def test_what_begins_after_a_hundred_thousand_honest_decisions_is_noticed_too() -> None:
    noticed = [
        first_alarm(seed, overridden=0.3, decisions=20_000, honest=100_000) for seed in range(30)
    ]

    assert sum(at is not None and at > 100_000 for at in noticed) >= 29


def test_a_kill_switch_downstream_is_noticed_within_hundreds() -> None:
    at = first_alarm(1, overridden=1.0, decisions=1_000)

    assert at is not None


def test_batches_do_not_change_the_evidence() -> None:
    rng = np.random.default_rng(2)
    p = rng.uniform(0, 1, 3 * BLOCK // 2)
    p[::7] = 0.0
    p[1::7] = 1.0
    explored = rng.uniform(size=len(p)) < p
    whole = OverrideMonitor.start().observe(explored, p)
    parts = OverrideMonitor.start()
    for e, q in zip(np.array_split(explored, 11), np.array_split(p, 11), strict=True):
        parts = parts.observe(e, q)

    assert parts.decisions == whole.decisions
    np.testing.assert_allclose(parts.log_wealth, whole.log_wealth, atol=1e-9)
    assert np.isfinite(whole.evidence)
