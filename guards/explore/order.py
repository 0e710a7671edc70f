"""Orders that a slate follows where nothing else is drawn: by score, or Plackett-Luce."""

from functools import cached_property
from math import log
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from guards.explore.rng import Hashes, Noise
from guards.explore.slate import NoMarginalsError, Probabilities, Slots

SPREAD_MAX = 1e6  # of logits: float64 still holds ten digits of the noise beside them
GAP_MAX = 40.0
WEIGHTS_SPREAD_MAX = 600.0  # exp(-745) is float64's end


class Order(Protocol):
    """An order of candidates; what is left of it after some are taken is the same order."""

    def first(self, noise: Noise, count: int) -> Slots:
        """Draw the first ``count`` items."""
        ...

    def cond_probs(self, slots: Slots) -> Probabilities:
        """Probability that each item is next, given that those before it are gone, (k,)."""
        ...

    def first_slot(self) -> Probabilities:
        """Probability of each item to be the first, (n,)."""
        ...

    def expected_scores(self, scores: NDArray[np.float64], slots: Slots) -> Probabilities:
        """Expected score of the next item before each of ``slots`` is taken, (k,)."""
        ...


class ByScore:
    """Best first; there is nothing to draw."""

    def __init__(self, ranked: Slots, n: int) -> None:
        self.ranked = ranked  # (k,), the best, as many as there are slots
        self._n = n

    def first(self, noise: Noise, count: int) -> Slots:
        """Take the best."""
        return self.ranked[:count]

    def cond_probs(self, slots: Slots) -> Probabilities:
        """One where it is the best of what is left, else zero."""
        if (slots == self.ranked[: len(slots)]).all():
            return np.ones(len(slots))
        left = self.ranked.tolist()
        p = np.zeros(len(slots))
        for at, item in enumerate(slots.tolist()):
            p[at] = left[0] == item
            if item in left:
                left.remove(item)
            else:
                left.pop()  # as many remain as may still be asked for
        return p

    def first_slot(self) -> Probabilities:
        """All on the best."""
        p = np.zeros(self._n)
        p[self.ranked[0]] = 1.0
        return p

    def expected_scores(self, scores: NDArray[np.float64], slots: Slots) -> Probabilities:
        """Score of the best that is left; ``slots`` are the greedy ones."""
        return scores[slots]


class PlackettLuce:
    """Items drawn one after the other, each with probability proportional to its weight.

    Drawn at once by the Gumbel top-k trick: the order of ``logit + Gumbel noise``.  Weights are
    kept as logarithms: what is left once the best are gone may be far below them.

    Source: Plackett (1975), "The analysis of permutations", Applied Statistics 24(2);
    Kool, van Hoof, Welling (2019), "Stochastic beams and where to find them", ICML.
    """

    def __init__(self, logits: NDArray[np.float64], eligible: NDArray[np.bool_]) -> None:
        """Take logits (n,), finite where ``eligible`` and of any size."""
        self.logits = np.where(eligible, logits, -np.inf)  # (n,)
        held = logits[eligible]
        spread = float(held.max() - held.min())
        if not spread <= SPREAD_MAX:
            self.logits[eligible] = _drawn_together(held)
        self._known: dict[bytes, tuple[Probabilities, Probabilities]] = {}

    def first(self, noise: Noise, count: int) -> Slots:
        """Draw the first ``count`` items."""
        with np.errstate(divide="ignore"):  # a number of 1 never loses: its noise is infinite
            keys = self.logits - np.log(-np.log(noise.by_item("rank")))
        return largest(keys, count)

    def cond_probs(self, slots: Slots) -> Probabilities:
        """Weight of each item among what is left."""
        return self._taken(slots)[0]

    def first_slot(self) -> Probabilities:
        """Weights, normalised."""
        return self._shares

    @cached_property
    def _shares(self) -> Probabilities:
        weights = np.exp(self.logits - self.logits.max())
        return np.asarray(weights / weights.sum())

    def expected_scores(self, scores: NDArray[np.float64], slots: Slots) -> Probabilities:
        """Mean score of what is left, by weight."""
        shares, rest = self._taken(slots)
        mean = float(rest @ scores)
        expected = np.empty(len(slots))
        taken = zip(shares.tolist(), scores[slots].tolist(), strict=True)
        for at, (share, score) in reversed(list(enumerate(taken))):
            expected[at] = mean = share * score + (1 - share) * mean
        return expected

    def weights(self, k: int) -> NDArray[np.float64]:
        """Weights that fit float64, (n,), for the first ``k`` ranks.

        Raises:
            NoMarginalsError: the first ``k`` differ by more than float64 holds.
        """
        below = self.logits - self.logits.max()
        if np.sort(below)[::-1][: k + 1][-1] < -WEIGHTS_SPREAD_MAX and np.isfinite(below).sum() > k:
            raise NoMarginalsError("a ranking of scores so far apart")
        return np.where(below > -np.inf, np.exp(np.maximum(below, -WEIGHTS_SPREAD_MAX)), 0.0)

    def _taken(self, slots: Slots) -> tuple[Probabilities, Probabilities]:
        """Weight of each slot's item among what is left, and what no slot holds, normalised, (n,).

        Kept, because the greedy slots are asked about twice.
        """
        name = slots.tobytes()
        if name not in self._known:
            self._known[name] = self._take(slots)
        return self._known[name]

    def _take(self, slots: Slots) -> tuple[Probabilities, Probabilities]:
        rest = self.logits.copy()
        rest[slots] = -np.inf
        largest_left = float(rest.max())
        held = np.empty(len(slots) + 1)
        held[1:] = self.logits[slots][::-1]
        if largest_left == -np.inf:
            held[0], weights = -np.inf, np.zeros(len(rest))
        else:
            weights = np.exp(rest - largest_left)
            total = float(weights.sum())
            held[0], weights = largest_left + log(total), weights / total
        left = np.logaddexp.accumulate(held)
        return np.exp(held[:0:-1] - left[:0:-1]), weights


def _drawn_together(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Close gaps that no noise bridges, so that noise still tells equal logits apart.

    A gap of 40 is a probability of 4e-18; a function of the logits alone, so nothing is inexact.
    """
    order = np.argsort(-logits, kind="stable")
    with np.errstate(over="ignore"):
        gaps = np.minimum(-np.diff(logits[order]), GAP_MAX)
    closed = np.empty(len(logits))
    closed[order] = -np.concatenate([[0.0], gaps.cumsum()])
    return closed


def largest(keys: NDArray[np.float64], count: int) -> Slots:
    """Find the ``count`` largest, largest first; equal keys hardly happen to noise."""
    count = min(count, len(keys))
    if count < len(keys):
        top = np.argpartition(keys, len(keys) - count)[len(keys) - count :]
    else:
        top = np.arange(len(keys))
    return np.asarray(top[np.argsort(-keys[top], kind="stable")], np.int64)


def best(
    scores: NDArray[np.float64], eligible: NDArray[np.bool_], hashes: Hashes, *, count: int
) -> Slots:
    """Rank the best ``count`` of the eligible; equals by the hash of their id, not by place.

    NaN ranks last.  Returns fewer where fewer are eligible.
    """
    places = np.flatnonzero(eligible)
    with np.errstate(invalid="ignore"):
        allowed = scores[places]
    allowed = np.where(np.isnan(allowed), -np.inf, allowed)
    count = min(count, len(places))
    if count < len(places):
        least = np.partition(allowed, len(allowed) - count)[len(allowed) - count]
        kept = np.flatnonzero(allowed >= least)  # with all that equal the last
        places, allowed = places[kept], allowed[kept]
    order = np.lexsort((hashes[places], -allowed))[:count]
    return np.asarray(places[order], np.int64)
