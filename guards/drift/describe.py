"""How different traffic looks, in the numbers people know; from counts, and no alarm by itself.

None of these has a false-alarm rate of its own: with many values each finds differences that do
not matter, with few PSI finds differences that are not there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, rel_entr

from guards.drift.cells import EDGES, MISSING, NONFINITE, UNSEEN
from guards.drift.reference import Reference

PSI_VALUES_MIN = 200  # below, PSI exceeds 0.1 by chance alone (Singh 2026, arXiv 2607.17336)
PSI_GROUPS = 10
EXPECTED_MIN = 5.0  # per cell for chi-squared; smaller ones are merged into one (Cochran 1954)


@dataclass(frozen=True, slots=True)
class Description:
    """One channel of recent traffic against its reference."""

    name: str
    n: int
    missing_share: float
    nonfinite_share: float
    unseen_share: float
    kolmogorov_smirnov: float | None  # D on the grid of the edges; categories have no order
    psi: float | None  # with ten groups; None below 200 values
    jensen_shannon: float  # distance, base 2, in [0, 1]
    wasserstein_iqr: float | None  # W1 within the edges over the interquartile range
    chi2: float
    chi2_p: float
    cramers_v: float


def describe(reference: Reference, counts: NDArray[np.int64], *, channel: int) -> Description:
    """Compare counts of recent traffic, shape (CELLS,), with the reference.

    Raises:
        ValueError: there are no counts.
    """
    n = int(counts.sum())
    if not n:
        raise ValueError("nothing was counted")
    before = reference.counts[channel]
    ordered = not reference.layout.categorical[channel]
    share = counts / n
    chi2, freedom, v = _chi2(before, counts)
    return Description(
        reference.layout.names[channel],
        n,
        float(share[MISSING]),
        float(share[NONFINITE]),
        float(share[UNSEEN]),
        _kolmogorov_smirnov(before, counts) if ordered else None,
        _psi(before, counts, ordered=ordered) if n >= PSI_VALUES_MIN else None,
        _jensen_shannon(before / before.sum(), share),
        _wasserstein(reference.layout.edges[channel], before, counts) if ordered else None,
        chi2,
        float(chdtrc(freedom, chi2)) if freedom else 1.0,
        v,
    )


def _kolmogorov_smirnov(before: NDArray[np.int64], now: NDArray[np.int64]) -> float | None:
    """Largest difference of the distribution functions at the edges, of the values there are."""
    old, new = before[: EDGES + 1], now[: EDGES + 1]
    if not old.sum() or not new.sum():
        return None
    return float(np.abs(old.cumsum() / old.sum() - new.cumsum() / new.sum()).max())


def _psi(before: NDArray[np.int64], now: NDArray[np.int64], *, ordered: bool) -> float:
    """Population stability index over reference deciles and the special cells.

    Half a value is added to each group: an empty one would make the index infinite.
    """
    group = np.arange(len(before))
    if ordered:
        finite = before[: EDGES + 1]
        start = finite.cumsum() - finite
        group[: EDGES + 1] = np.minimum(start * PSI_GROUPS // max(finite.sum(), 1), PSI_GROUPS - 1)
    used = np.unique(group[(before > 0) | (now > 0)])
    old = np.array([before[group == g].sum() for g in used]) + 0.5
    new = np.array([now[group == g].sum() for g in used]) + 0.5
    old, new = old / old.sum(), new / new.sum()
    return float(((new - old) * np.log(new / old)).sum())


def _jensen_shannon(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Square root of the divergence (Lin 1991): a distance."""
    middle = (p + q) / 2
    divergence = (rel_entr(p, middle) + rel_entr(q, middle)).sum() / 2 / np.log(2)
    return float(np.sqrt(max(divergence, 0.0)))


def _wasserstein(
    edges: NDArray[np.float64], before: NDArray[np.int64], now: NDArray[np.int64]
) -> float | None:
    """Area between the distribution functions from the first edge to the last."""
    at = edges[np.isfinite(edges)]
    old, new = before[: EDGES + 1], now[: EDGES + 1]
    if len(at) < 2 or not old.sum() or not new.sum():
        return None
    low, high = (old.cumsum() / old.sum())[: len(at)], (new.cumsum() / new.sum())[: len(at)]
    quartiles = at[np.minimum(np.searchsorted(low, (0.25, 0.75)), len(at) - 1)]
    width = float(quartiles[1] - quartiles[0])
    if not width > 0:
        return None
    return float((np.abs(low - high)[:-1] * np.diff(at)).sum() / width)


def _chi2(before: NDArray[np.int64], now: NDArray[np.int64]) -> tuple[float, int, float]:
    """Homogeneity of two samples: the statistic, its degrees of freedom and Cramér's V."""
    table = np.stack([before, now]).astype(float)
    sizes = table.sum(axis=1)
    expected = np.outer(sizes, table.sum(axis=0)) / sizes.sum()
    scarce = expected.min(axis=0) < EXPECTED_MIN
    table = np.column_stack([table[:, ~scarce], table[:, scarce].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return 0.0, 0, 0.0
    expected = np.outer(sizes, table.sum(axis=0)) / sizes.sum()
    chi2 = float(((table - expected) ** 2 / expected).sum())
    return chi2, table.shape[1] - 1, float(np.sqrt(chi2 / sizes.sum()))
