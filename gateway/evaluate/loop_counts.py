"""What loop health is made of: counts over some decisions, which add up."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gateway.evaluate.choice_log import LoggedChoice, name_of
from gateway.evaluate.logged_data import scores_of
from gateway.record.decision import Exploration
from gateway.record.replay import ids_of, question_of
from guards.explore.choices import NOBODY
from guards.explore.rng import as_ids, item_hashes
from guards.quality.loop.calibration import Excess
from guards.quality.loop.exposure import Exposure
from guards.quality.loop.sources import LabelSources
from guards.quality.offpolicy.logged import EXPLORED_MODE

UNIFORM = "uniform"  # component that nobody's preference had a part in

Items = NDArray[np.int64]
_NOTHING = np.zeros(0, np.int64)


def _no_exposure() -> Exposure:
    return Exposure(_NOTHING, _NOTHING, _NOTHING)


@dataclass(frozen=True, slots=True)
class LoopCounts:
    """Of the decisions of one window, or of a part of it."""

    decisions: int = 0
    joined: int = 0  # with a reward in time; the others have the default
    confirmed: int = 0  # of which somebody said what was shown
    overridden: int = 0  # and it was something else than was served
    reward: float = 0.0  # sum over first slots, for the mean
    exposure: Exposure = field(default_factory=_no_exposure)
    uniform: Exposure = field(default_factory=_no_exposure)  # of uniform decisions alone
    sources: LabelSources = field(default_factory=LabelSources)
    # Of the first slot, where the model or its policy chose.
    chosen_excess: Excess = field(default_factory=Excess)
    uniform_excess: Excess = field(default_factory=Excess)

    def merge(self, other: Self) -> Self:
        """Take two parts together."""
        return type(self)(
            self.decisions + other.decisions,
            self.joined + other.joined,
            self.confirmed + other.confirmed,
            self.overridden + other.overridden,
            self.reward + other.reward,
            self.exposure.merge(other.exposure),
            self.uniform.merge(other.uniform),
            self.sources.merge(other.sources),
            self.chosen_excess.merge(other.chosen_excess),
            self.uniform_excess.merge(other.uniform_excess),
        )


def count_choices(choices: Sequence[LoggedChoice]) -> LoopCounts:
    """Count decisions whose window is over."""
    if not choices:
        return LoopCounts()
    is_uniform = np.array([choice.component.split("/")[0] == UNIFORM for choice in choices])
    on = [choice for choice in choices if choice.drawn.mode == EXPLORED_MODE]
    rewards = np.array([choice.joined.rewards[0] for choice in choices])
    predicted = np.array([scores_of(choice)[choice.served[0]] for choice in choices])
    return LoopCounts(
        decisions=len(choices),
        joined=sum(choice.joined.state == "joined" for choice in choices),
        confirmed=sum(choice.joined.shown is not None for choice in choices),
        overridden=sum(choice.joined.is_overridden for choice in choices),
        reward=float(rewards.sum()),
        exposure=_exposure(choices),
        uniform=_exposure([c for c, is_own in zip(choices, is_uniform, strict=True) if is_own]),
        sources=LabelSources.of(
            np.array([choice.propensities.prod() for choice in on]),
            np.array([choice.is_explored for choice in on], np.bool_),
        ),
        chosen_excess=Excess.of(predicted[~is_uniform], rewards[~is_uniform]),
        uniform_excess=Excess.of(predicted[is_uniform], rewards[is_uniform]),
    )


def shown_otherwise(
    choices: Sequence[LoggedChoice],
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """For the override alarm: was something else than the greedy choice shown, and how likely
    should that have been?  Of decisions that were confirmed, in their order, (n,) each.
    """
    told = [c for c in choices if c.joined.shown is not None and c.drawn.mode == EXPLORED_MODE]
    explored = [
        c.joined.shown != _names(c.drawn, c.at, c.greedy) if c.joined.is_overridden
        else c.is_explored
        for c in told
    ]  # fmt: skip
    p_greedy = np.array([choice.drawn.p_greedy[choice.at] for choice in told])
    return np.array(explored, np.bool_), np.clip(1 - p_greedy, 0.0, 1.0)


def _exposure(choices: Sequence[LoggedChoice]) -> Exposure:
    """Count what was shown among all that was eligible; approvals have no catalogue."""
    choices = [choice for choice in choices if choice.drawn.kind != "threshold"]
    if not choices:
        return _no_exposure()
    shown: list[Items] = []
    hits: list[NDArray[np.bool_]] = []
    eligible: dict[bytes, Items] = {}  # most requests have the same
    for choice in choices:
        items = _items(choice.drawn, choice.at)
        served = choice.served[choice.served != NOBODY]
        seen = items[served]
        if choice.joined.is_overridden and choice.joined.shown:
            seen = item_hashes(as_ids(choice.joined.shown)).view(np.int64)
        earned = np.zeros(len(seen), np.bool_)
        rewarded = np.array(choice.joined.rewards) > 0
        earned[: len(rewarded)] = rewarded[: len(seen)]
        shown.append(seen)
        hits.append(earned)
        mask = question_of(choice.drawn).eligible
        mine = items if mask is None else items[mask[choice.at]]
        eligible[mine.tobytes()] = mine
    return Exposure.count(
        np.unique(np.concatenate(list(eligible.values()))),
        np.concatenate(shown),
        np.concatenate(hits),
    )


def _items(drawn: Exploration, at: int) -> Items:
    """Number the candidates of one decision: an id, or the hash of a text, (n,)."""
    ids = ids_of(drawn)[at]
    return item_hashes(ids).view(np.int64) if drawn.ids else ids.astype(np.int64)


def _names(drawn: Exploration, at: int, places: Items) -> tuple[int | str, ...]:
    ids = ids_of(drawn)[at]
    return tuple(name_of(ids[place]) for place in places if place != NOBODY)
