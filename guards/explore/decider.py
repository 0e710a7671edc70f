"""Decides whatever kind of choice the settings name; the gateway asks it, and so do replays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.explore.choices import NOBODY, Choices, stack
from guards.explore.drawing import Charge
from guards.explore.explorer import Explorer
from guards.explore.policy import eligible
from guards.explore.rng import Hashes, as_ids, item_hashes
from guards.explore.settings import Id, SingleExplore, SlateExplore, ThresholdExplore
from guards.explore.slate import Slots
from guards.explore.slate_explorer import Candidates, SlateExplorer
from guards.explore.threshold_explorer import ThresholdExplorer

Settings = SingleExplore | SlateExplore | ThresholdExplore


@dataclass(frozen=True, slots=True)
class Question:
    """``d`` decisions over ``n`` candidates each."""

    scores: NDArray[Any]  # (d, n) as the model gave them; threshold: (d, 1)
    hashes: Hashes | None = None  # (d, n), of the ids; None: a candidate is its column
    eligible: NDArray[np.bool_] | None = None  # (d, n); None: all
    # (d, n): quota of the cold-start pool, or the model's own distribution; (d, 1): cost.
    extra: NDArray[np.float64] | None = None
    baseline: NDArray[np.int64] | None = None  # (d, n): slot, from 1, or 0
    exposure: NDArray[np.float64] | None = None  # (d,)

    def rows(self, start: int, stop: int) -> "Question":
        """Cut out some decisions."""
        at = slice(start, stop)
        return Question(
            self.scores[at],
            None if self.hashes is None else self.hashes[at],
            None if self.eligible is None else self.eligible[at],
            None if self.extra is None else self.extra[at],
            None if self.baseline is None else self.baseline[at],
            None if self.exposure is None else self.exposure[at],
        )


class Decider:
    """One model's choice, in one configuration."""

    def __init__(self, settings: Settings, salt: bytes, *, domain: str) -> None:
        self.settings = settings
        self._excluded: Hashes | None = None
        self._pinned: dict[int, np.uint64] = {}
        if isinstance(settings, SlateExplore):
            self._slates = SlateExplorer(settings, salt, domain=domain)
            pinned = _hashes_of(tuple(settings.pinned.values()))
            self._pinned = {
                slot - 1: item for slot, item in zip(settings.pinned, pinned, strict=True)
            }
        elif isinstance(settings, SingleExplore):
            self._singles = Explorer(settings, salt, domain=domain)
        else:
            self._approvals = ThresholdExplorer(settings, salt, domain=domain)
        if isinstance(settings, SingleExplore | SlateExplore) and settings.excluded:
            self._excluded = _hashes_of(settings.excluded)

    def usable(self, question: Question) -> NDArray[np.bool_]:
        """Mark what may be served, (d, n); a decision without any cannot be made."""
        scores = question.scores
        usable = np.ones(scores.shape, np.bool_) if question.eligible is None else question.eligible
        if self._excluded is None:
            return usable
        if question.hashes is None:
            return usable & eligible(scores.shape[1], self._excluded.astype(np.int64).tolist())
        return usable & ~np.isin(question.hashes, self._excluded)

    def decide(
        self,
        question: Question,
        keys: Sequence[str],
        *,
        closed: Sequence[str | None],
        usable: NDArray[np.bool_] | None = None,
        charge: Charge | None = None,
    ) -> Choices:
        """Make every decision.

        Args:
            question: At least one usable candidate in each.
            keys: One per decision: what its numbers hang on.
            closed: Why a decision may not be randomised, known before.
            usable: Of `usable`, if it is known already.
            charge: Last gate before each draw.
        """
        if isinstance(self.settings, ThresholdExplore):
            return self._approve(question, keys, closed, charge)
        usable = self.usable(question) if usable is None else usable
        if isinstance(self.settings, SlateExplore):
            return self._rank(question, keys, closed, usable, charge)
        return self._singles.decide(
            question.scores,
            keys,
            closed=closed,
            allowed=usable,
            items=question.hashes,
            given=question.extra,
            baseline=_marked(question.baseline),
            charge=charge,
        )

    def probability(
        self, question: Question, slots: NDArray[np.int64], *, closed: Sequence[str | None]
    ) -> NDArray[np.float64]:
        """Tell how likely each slot is filled as it was, given the slots before it, (d, k).

        It needs neither keys nor salt.  A decision that is not randomised fills its slots with
        the greedy choice for certain; below a slot that it would not fill so, nothing is meant.

        Args:
            question: At least one usable candidate in each.
            slots: Shape (d, k), candidates by their place; `NOBODY` has probability 1.
            closed: Why a decision may not be randomised.
        """
        choices = self.decide(question, [""] * len(slots), closed=closed)
        if not isinstance(self.settings, SlateExplore):
            p = np.take_along_axis(choices.first, np.maximum(slots, 0), axis=1)
            return np.where(slots == NOBODY, 1.0, p)
        usable = self.usable(question)
        p = np.ones(slots.shape)
        for at, reason in enumerate(choices.reasons):
            filled = slots[at][slots[at] != NOBODY]
            if reason is None:
                candidates = self._candidates(question, usable, at)
                p[at, : len(filled)] = self._slates.distribution(candidates).cond_probs(filled)
            else:
                p[at, : len(filled)] = filled == choices.greedy[at, : len(filled)]
        return p

    def _approve(
        self,
        question: Question,
        keys: Sequence[str],
        closed: Sequence[str | None],
        charge: Charge | None,
    ) -> Choices:
        extra = question.extra
        return self._approvals.decide(
            question.scores[:, 0],
            keys,
            closed=closed,
            cost=None if extra is None else extra[:, 0],
            exposure=question.exposure,
            charge=charge,
        )

    def _rank(
        self,
        question: Question,
        keys: Sequence[str],
        closed: Sequence[str | None],
        usable: NDArray[np.bool_],
        charge: Charge | None,
    ) -> Choices:
        made = []
        for at, key in enumerate(keys):
            asked = None if charge is None else _at(charge, at)
            candidates = self._candidates(question, usable, at)
            made.append(self._slates.decide(candidates, key, closed=closed[at], charge=asked))
        return stack(made) if len(made) > 1 else made[0]

    def _candidates(self, question: Question, usable: NDArray[np.bool_], at: int) -> Candidates:
        assert question.hashes is not None
        hashes = question.hashes[at]
        return Candidates(
            question.scores[at].astype(np.float64, copy=False),
            hashes,
            usable[at],
            self._pins(hashes),
            None if question.extra is None else question.extra[at],
            None if question.baseline is None else _ranked(question.baseline[at]),
        )

    def _pins(self, hashes: Hashes) -> dict[int, int]:
        pins = {}
        for slot, item in self._pinned.items():
            places = np.flatnonzero(hashes == item)
            if len(places):
                pins[slot] = int(places[0])
        return pins


def _at(charge: Charge, at: int) -> Charge:
    return lambda _row, regret: charge(at, regret)


def _marked(baseline: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """Find the action that is marked in each row; -1 where none is."""
    if baseline is None:
        return None
    return np.where((baseline != 0).any(axis=1), (baseline != 0).argmax(axis=1), -1)


def _ranked(baseline: NDArray[np.int64]) -> Slots:
    """List the candidates that have a slot, first slot first."""
    shown = np.flatnonzero(baseline > 0)
    return np.asarray(shown[np.argsort(baseline[shown], kind="stable")])


def _hashes_of(ids: tuple[Id, ...]) -> Hashes:
    return item_hashes(as_ids(ids))
