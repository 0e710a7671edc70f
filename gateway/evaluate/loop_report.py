"""What people read about a feedback loop: a value, made when a window is over."""

import math
from collections.abc import Mapping

from gateway.evaluate.loop_counts import LoopCounts
from gateway.record.loop_signal import MEASURES, LoopSignal
from guards.quality.loop.alarm import judge_calibration, judge_loop, judge_newcomers
from guards.quality.loop.calibration import loop_gap
from guards.quality.loop.exposure import (
    by_popularity,
    coverage,
    effective_items,
    found,
    gini,
    popularity_lift,
)
from guards.quality.loop.newcomers import Catalogue
from guards.quality.loop.override import OverrideMonitor
from guards.quality.ranked_sums import RankedSums
from guards.settings import Settings
from models.feedback_spec import LoopSpec

NS_PER_S = 10**9


class PopularityBucket(Settings):
    """Items of similar popularity before the window, and how they fared in it."""

    least: int  # impressions before, inclusive
    items: int
    impressions: int
    hit_rate: float | None


class LoopReport(Settings):
    """One window.  None where the window does not tell."""

    start_s: float  # Unix
    end_s: float
    window: int  # number, from 1
    decisions: int
    joined: int  # with a reward; the others have the default
    confirmed: int  # of which it was said what was shown
    overridden: int
    ever_confirmed: int  # in all windows
    ever_overridden: int
    items: int  # that were eligible
    coverage: float | None  # share of them with `loop.least` impressions
    gini: float | None
    effective_items: float | None
    popularity_lift: float | None  # against all windows before
    hit_rates: tuple[PopularityBucket, ...]
    newcomers: int  # whose first windows are over, ever
    newcomers_reached: int  # that had `loop.least` impressions in them
    newcomer_share: float | None
    found_good_new: float | None  # of new items that do well in the uniform bucket
    calibration_gap: float | None  # how much the model overrates what it chose
    calibration_low: float | None
    calibration_high: float | None
    effective_labels: float
    explored_label_share: float | None
    override_evidence: float  # nats; what replaces explored choices silently raises it
    loop_alarm: bool
    override_alarm: bool
    reasons: tuple[str, ...]
    ranked: RankedSums = RankedSums()  # of the live version, in all windows

    @property
    def signal(self) -> Mapping[str, float]:
        """What metrics show."""
        told = self.model_dump(include=set(MEASURES))
        if self.confirmed:
            told["overridden_share"] = self.overridden / self.confirmed
        return {name: value for name, value in told.items() if value is not None}

    def signal_of(self, model: str) -> LoopSignal:
        """Name whose signal it is."""
        return LoopSignal(model, dict(self.signal), self.loop_alarm, self.override_alarm)


def report_window(
    counts: LoopCounts,
    before: Catalogue,
    after: Catalogue,
    override: OverrideMonitor,
    spec: LoopSpec,
    *,
    start_ns: int,
    end_ns: int,
    ever: tuple[int, int],
    ranked: RankedSums,
) -> LoopReport:
    """Report on a window that is over.

    Args:
        counts: Of the window.
        before: What was known of the items when it began.
        after: The same, with this window.
        override: The bet against silent overrides, with this window.
        spec: Of the live version.
        start_ns: Unix.
        end_ns: Unix.
        ever: Confirmed and overridden decisions of all windows.
        ranked: Rankings of the live version, of all windows.
    """
    exposure, patience = counts.exposure, spec.patience
    new_items, early = after.newcomers(patience=patience)
    reached = int((early >= spec.least).sum())
    gap, interval = loop_gap(counts.chosen_excess, counts.uniform_excess)
    uniform = counts.uniform
    rates = uniform.hits / uniform.impressions.clip(1)
    is_good = (uniform.hits > 0) & (rates >= counts.reward / max(counts.decisions, 1))
    good = uniform.items[is_good & (after.first_of(uniform.items) > 1)]
    loop = judge_loop(
        judge_newcomers(reached, len(new_items), spec),
        judge_calibration(
            counts.chosen_excess,
            uniform=counts.uniform_excess,
            observed=counts.reward / max(counts.decisions, 1),
            settings=spec,
            windows=after.windows,
        )
        if spec.scores_are_rewards
        else None,
    )
    is_overridden = override.alarm()
    told = (
        (f"explored choices are replaced downstream: evidence {override.evidence:.1f} nats",)
        if is_overridden
        else ()
    )
    knows_gap = spec.scores_are_rewards
    return LoopReport(
        start_s=start_ns / NS_PER_S,
        end_s=end_ns / NS_PER_S,
        window=after.windows,
        decisions=counts.decisions,
        joined=counts.joined,
        confirmed=counts.confirmed,
        overridden=counts.overridden,
        ever_confirmed=ever[0],
        ever_overridden=ever[1],
        items=len(exposure.items),
        coverage=_known(coverage(exposure, least=spec.least)),
        gini=_known(gini(exposure)),
        effective_items=_known(effective_items(exposure)),
        popularity_lift=_known(popularity_lift(exposure, before.history)),
        hit_rates=tuple(
            PopularityBucket(
                least=bucket.least,
                items=bucket.items,
                impressions=bucket.impressions,
                hit_rate=_known(bucket.hit_rate),
            )
            for bucket in by_popularity(exposure, before.history)
        ),
        newcomers=len(new_items),
        newcomers_reached=reached,
        newcomer_share=reached / len(new_items) if len(new_items) else None,
        found_good_new=_known(found(good, exposure, least=spec.least)),
        calibration_gap=_known(gap) if knows_gap and counts.uniform_excess.rows > 1 else None,
        calibration_low=_known(interval.low) if knows_gap else None,
        calibration_high=_known(interval.high) if knows_gap else None,
        effective_labels=counts.sources.effective_rows,
        explored_label_share=_known(counts.sources.explored_share),
        override_evidence=override.evidence,
        loop_alarm=loop.alarm,
        override_alarm=is_overridden,
        reasons=(*loop.reasons, *told),
        ranked=ranked,
    )


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
