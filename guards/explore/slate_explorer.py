"""Decides one ranking: the greedy slate or, where every gate is open, one that is drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from guards.explore.choices import NOBODY, Choices, certain
from guards.explore.drawing import Charge
from guards.explore.gate import are_finite
from guards.explore.order import best
from guards.explore.pinned import Pinned
from guards.explore.rng import Hashes, Noise, Rngs
from guards.explore.settings import SlateExplore
from guards.explore.slate import SlateDistribution, Slots, is_distribution
from guards.explore.slate_policy import FreeSlots, slate_distribution, with_less_regret
from guards.explore.slotwise import Pool


@dataclass(frozen=True, slots=True)
class Candidates:
    """What one decision is made of."""

    scores: NDArray[np.float64]  # (n,), larger is better
    hashes: Hashes  # (n,), of the ids; see `item_hashes`
    eligible: NDArray[np.bool_]  # (n,), what may be served; at least one
    pins: Mapping[int, int] = field(
        default_factory=dict
    )  # slot, from 0, to the candidate that has it
    cold: NDArray[np.float64] | None = None  # (n,), quota left, 0: not in the pool
    baseline: Slots | None = None  # (k,), what an apprentice serves; -1 where there is none


class SlateExplorer:
    """Randomises rankings with exact propensities; pure, as `Explorer` is."""

    def __init__(self, settings: SlateExplore, salt: bytes, *, domain: str = "") -> None:
        """Prepare the generators; other domains (models, configurations) draw other numbers."""
        self._settings = settings
        self._rngs = Rngs(salt, domain=domain)

    def decide(
        self,
        candidates: Candidates,
        key: str,
        *,
        closed: str | None = None,
        charge: Charge | None = None,
    ) -> Choices:
        """Rank the candidates.

        Args:
            candidates: With at least one that is eligible.
            key: What the numbers hang on.
            closed: Why this decision may not explore, fixed before this call.
            charge: Last gate before the draw.
        """
        settings, n = self._settings, len(candidates.scores)
        pins, free = self._free(candidates)
        greedy = _around(free.ranked, pins)
        if settings.mode == "off":
            closed = closed or "off"
        closed = closed or self._veto(candidates, free)
        if closed is None:
            distribution = self._distribution(candidates, pins, free)
            if not is_distribution(distribution, candidates.eligible):
                closed = "invalid_distribution"
            else:
                regret = distribution.expected_regret(candidates.scores, greedy)
                closed = self._over(regret) or (charge(0, regret) if charge is not None else None)
        if closed is None:
            choices = self._draw(distribution, greedy, regret, key, candidates)
        else:
            choices = certain(greedy[None, :], candidates=n, reasons=(closed,))
        return self._in_mode(choices, candidates)

    def distribution(self, candidates: Candidates) -> SlateDistribution:
        """Build what a decision is drawn from; it needs neither key nor salt."""
        return self._distribution(candidates, *self._free(candidates))

    def _distribution(
        self, candidates: Candidates, pins: Mapping[int, int], free: FreeSlots
    ) -> SlateDistribution:
        settings = self._settings
        free = self._narrowed(candidates, free)
        distribution = slate_distribution(settings, free)
        if settings.max_expected_regret is not None:
            most = settings.max_expected_regret
            distribution = with_less_regret(distribution, settings, free, most=most)
        return Pinned(distribution, pins) if pins else distribution

    def _free(self, candidates: Candidates) -> tuple[dict[int, int], FreeSlots]:
        """Take pinned candidates out, and rank the others greedily."""
        eligible = candidates.eligible
        k = min(self._settings.slots, int(np.count_nonzero(eligible)))
        pins = {s: c for s, c in candidates.pins.items() if s < k and eligible[c]}
        if pins:
            eligible = eligible.copy()
            eligible[list(pins.values())] = False
        ranked = best(candidates.scores, eligible, candidates.hashes, count=k - len(pins))
        return pins, FreeSlots(candidates.scores, eligible, ranked)

    def _narrowed(self, candidates: Candidates, free: FreeSlots) -> FreeSlots:
        """Leave out what is too far below, and find the pool of the reserved slot."""
        settings, eligible = self._settings, free.eligible
        if settings.max_regret is not None:
            with np.errstate(over="ignore"):
                least = free.scores[free.ranked[-1]] - settings.max_regret
            eligible = eligible & (free.scores >= least)
        pool = None
        if settings.cold_start is not None and candidates.cold is not None:
            with np.errstate(invalid="ignore"):
                is_quota = eligible & np.isfinite(candidates.cold) & (candidates.cold > 0)
            if is_quota.any():
                weights = np.where(is_quota, candidates.cold, 0.0)
                cold = settings.cold_start
                pool = Pool(cold.slot - 1, cold.share, weights / weights.max())
        return replace(free, eligible=eligible, pool=pool)

    def _veto(self, candidates: Candidates, free: FreeSlots) -> str | None:
        """Find the first reason in the scores and candidates not to explore."""
        allowed = candidates.scores[free.eligible]
        if len(allowed) < 2:
            return "too_few"
        if not are_finite(candidates.scores):
            return "not_finite"
        if allowed.max() == allowed.min():
            return "all_equal"
        ranked = np.sort(candidates.hashes)
        if (ranked[1:] == ranked[:-1]).any():
            return "duplicate_ids"
        if self._settings.floor * len(allowed) > 1 + 1e-12:
            return "floor"
        return None

    def _over(self, regret: float) -> str | None:
        limit = self._settings.max_expected_regret
        is_over = limit is not None and not regret <= limit * (1 + 1e-9)  # the floor's own, or NaN
        return "regret" if is_over or not np.isfinite(regret) else None

    def _draw(
        self,
        distribution: SlateDistribution,
        greedy: Slots,
        regret: float,
        key: str,
        candidates: Candidates,
    ) -> Choices:
        draw = distribution.sample(Noise(self._rngs, key, candidates.hashes))
        conditional = distribution.cond_probs(draw.slots)
        p_greedy = float(distribution.cond_probs(greedy).prod())
        slots = draw.slots[None, :]
        return Choices(
            greedy[None, :],
            slots,
            slots,
            conditional[None, :],
            np.array([p_greedy]),
            np.array([regret]),
            distribution.first_slot()[None, :],
            (draw.component,),
            (None,),
            is_live=True,
        )

    def _in_mode(self, choices: Choices, candidates: Candidates) -> Choices:
        mode = self._settings.mode
        if mode in ("on", "off"):
            return choices
        served = choices.greedy
        baseline = candidates.baseline
        if (
            mode == "apprentice"
            and baseline is not None
            and len(baseline)
            and (baseline >= 0).all()
        ):
            k = served.shape[1]
            shown = np.full(k, NOBODY, np.int64)
            shown[: min(k, len(baseline))] = baseline[:k]
            served = shown[None, :]
        return replace(choices, served=served, is_live=False)


def _around(ranked: Slots, pins: Mapping[int, int]) -> Slots:
    if not pins:
        return ranked
    slots = np.empty(len(ranked) + len(pins), np.int64)
    is_free = np.ones(len(slots), np.bool_)
    is_free[list(pins)] = False
    slots[is_free] = ranked
    for slot, item in pins.items():
        slots[slot] = item
    return slots
