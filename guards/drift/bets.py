"""Bets against "traffic is what it was": what each pays per cell, fair to every such traffic.

A bet is a payoff per cell whose expected value is at most 1 whatever distribution within the
bounds of the reference is the true one.  Its wealth after any number of values is the product
of their payoffs, so the logarithm is ``counts @ log payoffs``: it depends on merged counts only.

Three families, because drift comes in three shapes: tilts of the normal scores bet on a shift
or a change of scale of the bulk, odds on the outermost cells bet on gross errors, odds on
single cells bet on missing values and on categories.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from guards.drift.bounds import rank_bounds, share_bounds, widen
from guards.drift.cells import CELLS, EDGES, MISSING, Counts
from guards.drift.reference import Reference

Grid = NDArray[np.float64]

SHIFTS = (0.1, 0.25, 0.5, 1.0, 2.0)  # in reference standard deviations, both ways
SCALES = (0.6, 1.5, 2.5)  # ratios of standard deviations
SCORE_MAX = 2.5  # beyond it the reference bounds probabilities too loosely for a tilt to pay
ODDS = (1.5, 2.0, 4.0, 8.0)
RARE_ODDS = (4.0, 16.0)  # where the reference has next to nothing
SPECIAL_ODDS = (2.0, 8.0, 64.0)  # of missing values: from a few to an outage
TAIL_EDGES = 2  # at each end: the extreme value, and the 1 in 1000 quantile
INNER_STEP = 4  # between the other edges on which odds are bet

# How the initial stake is divided; each family divides its share evenly.  A family with a
# tenth of the stake finds its drift ln(10) nats later than if it had all.
STAKES = {
    "shift": 0.32,
    "scale": 0.13,
    "tail": 0.25,
    "outside": 0.2,
    "inner": 0.03,
    "special": 0.07,
}


@dataclass(frozen=True, slots=True)
class Bets:
    """All bets on all channels; channels with fewer bets are filled up with stakes of nothing."""

    log_payoffs: Grid  # (channels, CELLS, bets)
    log_stakes: Grid  # (channels, bets), -inf where there is no bet
    labels: tuple[tuple[str, ...], ...]  # by channel, what each bet bets on

    @classmethod
    def on(cls, reference: Reference, *, delta: float, slack: float = 0.0) -> "Bets":
        """Set up the bets of every channel.

        Args:
            reference: What traffic was.
            delta: Probability that any bound on any channel fails, so that bets are unfair.
            slack: Drift of probabilities that is to pass unnoticed.
        """
        each = delta / (2 * CELLS * len(reference.counts))  # Bonferroni over all bounds
        built = [_on_channel(reference, channel, each, slack) for channel in range(len(reference))]
        most = max(len(bets.stakes) for bets in built)
        payoffs = np.zeros((len(built), CELLS, most))
        stakes = np.zeros((len(built), most))
        for channel, bets in enumerate(built):
            # Wealth to the power of 1 / design effect: as many values, worth fewer.
            payoffs[channel, :, : len(bets.stakes)] = bets.log_payoffs / reference.design[channel]
            stakes[channel, : len(bets.stakes)] = bets.stakes / bets.stakes.sum()
        with np.errstate(divide="ignore"):
            return cls(payoffs, np.log(stakes), tuple(bets.labels for bets in built))

    def gains(self, counts: Counts) -> Grid:
        """Log wealth that counts, shape (..., channels, CELLS), add to each bet."""
        gains: Grid = (counts[..., None, :].astype(float) @ self.log_payoffs)[..., 0, :]
        return gains


@dataclass(frozen=True, slots=True)
class _Bets:
    """The bets on one channel."""

    log_payoffs: Grid  # (CELLS, bets)
    stakes: Grid  # (bets,)
    labels: tuple[str, ...]


def _on_channel(reference: Reference, channel: int, delta: float, slack: float) -> _Bets:
    """Set up the bets of one channel; each of its bounds fails with probability ``delta``."""
    counts = reference.counts[channel]
    if reference.layout.categorical[channel]:
        return _on_categories(reference.layout.edges[channel], counts, delta, slack)
    edges = int(np.isfinite(reference.layout.edges[channel]).sum())
    bounds = _prefix_bounds(counts, reference.ranked[channel], delta, slack)
    families = {name: _fair(shape, *bounds) for name, shape in _shapes(counts, edges).items()}
    families["outside"] = _on_outside(counts, edges, delta, slack)
    stakes = [np.full(p.shape[1], STAKES[f] / max(p.shape[1], 1)) for f, p in families.items()]
    payoffs = np.concatenate(list(families.values()), axis=1)
    return _Bets(payoffs, np.concatenate(stakes), _labels(families))


def _labels(families: Mapping[str, Grid]) -> tuple[str, ...]:
    """Say what each bet bets on, in the order in which `_shapes` lays them out."""
    ways = {
        "shift": [f"{'lower' if way < 0 else 'higher'}" for _ in SHIFTS for way in (-1, 1)],
        "scale": ["narrower" if scale < 1 else "wider" for scale in SCALES],
        "special": ["more missing", "more not finite", "more unseen", "fewer missing"],
        "outside": ["more at both ends"],
    }
    for family in ("tail", "inner"):
        half = families[family].shape[1] // 2 // len(RARE_ODDS if family == "tail" else ODDS)
        where = {
            "tail": ("at the lower end", "at the upper end"),
            "inner": ("low values", "high values"),
        }[family]
        ways[family] = [f"more {place}" for place in where for _ in range(half)]
    return tuple(
        ways[family][bet % len(ways[family])]
        for family, payoffs in families.items()
        for bet in range(payoffs.shape[1])
    )


def _prefix_bounds(
    counts: NDArray[np.int64], ranked: NDArray[np.bool_], delta: float, slack: float
) -> tuple[Grid, Grid]:
    """Bound P(cell <= j) for every cell j but the last."""
    hits, n = counts.cumsum()[:-1], int(counts.sum())
    low, high = share_bounds(hits, n, delta)
    exact = np.flatnonzero(ranked)
    low[exact], high[exact] = rank_bounds(hits[exact], n, delta)
    return widen(low, high, slack)


def _fair(shape: Grid, low: Grid, high: Grid) -> Grid:
    """Scale positive shapes, (CELLS, bets), so that none has an expected value above 1.

    Summed by parts, E g = g[-1] + sum over prefixes j of (g[j] - g[j+1]) P(cell <= j), and each
    probability is taken at its worst.
    """
    steps = shape[:-1] - shape[1:]
    worst = shape[-1] + (np.where(steps > 0, high[:, None], low[:, None]) * steps).sum(axis=0)
    payoffs: Grid = np.log(shape) - np.log(worst)
    return payoffs


def _on_outside(counts: NDArray[np.int64], edges: int, delta: float, slack: float) -> Grid:
    """Bet on gross errors to either side at once.

    With k values of n in the outermost cells, the share outside is Beta(k + 1, n - k)
    distributed, being the sum of k + 1 gaps between order statistics: the Clopper-Pearson bound.
    """
    cell = np.arange(CELLS)
    outermost = np.arange(min(TAIL_EDGES, (edges + 1) // 2))
    events = (cell[:, None] <= outermost) | (
        (cell[:, None] >= edges - outermost) & (cell[:, None] <= EDGES)
    )
    hits = np.array([counts[event].sum() for event in events.T], np.int64)
    high = widen(*share_bounds(hits, int(counts.sum()), delta), slack)[1]
    ratios = np.repeat(RARE_ODDS, len(high))
    shape = _odds(events.astype(float), RARE_ODDS)
    worst = np.log1p((ratios - 1) * np.tile(high, len(RARE_ODDS)))
    payoffs: Grid = np.log(shape) - worst
    return payoffs


def _shapes(counts: NDArray[np.int64], edges: int) -> dict[str, Grid]:
    """Shapes, (CELLS, bets), of every family on cells that have an order."""
    scores, weights = _scores(counts)
    shifts = np.array([shift * way for shift in SHIFTS for way in (-1, 1)])
    bend = (1 - 1 / np.array(SCALES) ** 2) / 2
    at = np.arange(edges)
    inner = at[TAIL_EDGES:-TAIL_EDGES:INNER_STEP]
    tails = [_below(at[:TAIL_EDGES]), _above(at[-TAIL_EDGES:])]
    special = np.eye(CELLS)[:, MISSING:]
    specials = np.concatenate([special, 1 - special[:, :1]], axis=1)
    return {
        "shift": _neutral(np.exp(scores[:, None] * shifts), weights),
        "scale": _neutral(np.exp(scores[:, None] ** 2 * bend), weights),
        "tail": _odds(np.concatenate(tails, axis=1), RARE_ODDS),
        "inner": _odds(np.concatenate([_below(inner), _above(inner)], axis=1), ODDS),
        "special": _odds(specials, SPECIAL_ODDS),
    }


def _scores(counts: NDArray[np.int64]) -> tuple[Grid, Grid]:
    """Give every ordered cell its normal score, and its reference share among them."""
    ordered = counts[: EDGES + 1].astype(float)
    before = np.concatenate([[0.0], ordered.cumsum()[:-1]])
    n = ordered.sum()
    scores = ndtri((before + ordered / 2 + 0.5) / (n + 1))
    return np.clip(scores, -SCORE_MAX, SCORE_MAX), ordered / max(n, 1.0)


def _neutral(shape: Grid, weights: Grid) -> Grid:
    """Complete a shape over ordered cells by cells in which it neither wins nor loses."""
    mean = (weights[:, None] * shape).sum(axis=0)
    rest = np.where(mean > 0, mean, 1.0)
    return np.concatenate([shape, np.tile(rest, (CELLS - len(shape), 1))])


def _below(edges: NDArray[np.intp]) -> Grid:
    """Events "at or below the edge", one column each."""
    return (np.arange(CELLS)[:, None] <= edges).astype(float)


def _above(edges: NDArray[np.intp]) -> Grid:
    """Events "above the edge, and a number", one column each."""
    return _below(np.array([EDGES])) - _below(edges)


def _odds(events: Grid, ratios: tuple[float, ...]) -> Grid:
    """Raise the odds of each event, one column each, by each ratio."""
    return np.concatenate([1 + (ratio - 1) * events for ratio in ratios], axis=1)


def _on_categories(
    categories: Grid, counts: NDArray[np.int64], delta: float, slack: float
) -> _Bets:
    """Bet that a category becomes more or less frequent."""
    low, high = widen(*share_bounds(counts, int(counts.sum()), delta), slack)
    payoffs, labels, used = [], [], []
    for cell in np.flatnonzero((counts > 0) | (np.arange(CELLS) > EDGES)):
        is_rare = counts[cell] * 100 < counts.sum()
        ratios = np.array(RARE_ODDS if is_rare else (*ODDS, *(1 / odds for odds in ODDS)))
        shape = np.ones((CELLS, len(ratios)))
        shape[cell] = ratios
        worst = 1 + (ratios - 1) * np.where(ratios > 1, high[cell], low[cell])
        payoffs.append(np.log(shape) - np.log(worst))
        name = _cell_name(int(cell), categories)
        labels += [f"{'more' if ratio > 1 else 'fewer'} {name}" for ratio in ratios]
        used += [bool(counts[cell])] * len(ratios)
    # What never occurred shares a quarter of the stake.
    usual = np.array(used)
    stakes = np.where(usual, 0.75 / max(usual.sum(), 1), 0.25 / max((~usual).sum(), 1))
    return _Bets(np.concatenate(payoffs, axis=1), stakes, tuple(labels))


def _cell_name(cell: int, categories: Grid) -> str:
    if cell > EDGES:
        return ("missing", "not finite", "unseen")[cell - MISSING]
    return "rare categories" if cell == EDGES else f"{categories[cell]:g}"
