"""The numbers people know agree with those of scipy, and PSI keeps quiet when it must."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance

from guards.drift.cells import count
from guards.drift.describe import Description, describe
from guards.drift.reference import Channel, Reference

RNG = np.random.default_rng(0)
BEFORE, NOW = RNG.normal(size=5000), RNG.normal(0.3, 1.2, size=3000)
REFERENCE = Reference.fit([Channel("x", BEFORE)])


def _describe(values: np.ndarray, reference: Reference = REFERENCE) -> Description:
    counts = count(reference.layout.codes(values[:, None]))[0]
    return describe(reference, counts, channel=0)


def test_statistics_on_the_grid_are_those_of_the_samples() -> None:
    found = _describe(NOW)

    exact = ks_2samp(BEFORE, NOW).statistic
    assert exact - 0.03 <= found.kolmogorov_smirnov <= exact
    width = np.subtract(*np.quantile(BEFORE, [0.75, 0.25]))
    assert found.wasserstein_iqr == pytest.approx(
        wasserstein_distance(BEFORE, NOW) / width, rel=0.1
    )
    share = count(REFERENCE.layout.codes(NOW[:, None]))[0] / 3000
    old = REFERENCE.counts[0] / 5000
    assert found.jensen_shannon == pytest.approx(jensenshannon(old, share, 2))
    assert found.chi2_p < 1e-10
    assert 0 < found.cramers_v < 1


def test_like_is_like() -> None:
    found = _describe(RNG.normal(size=3000))

    assert found.psi is not None
    assert found.psi < 0.02
    assert found.chi2_p > 0.001
    assert found.kolmogorov_smirnov is not None
    assert found.kolmogorov_smirnov < 0.04


def test_psi_below_200_values_is_not_given() -> None:
    """Trap: at 50 to 100 values PSI exceeds 0.1 by chance nearly always."""
    assert _describe(NOW[:199]).psi is None
    assert _describe(NOW[:200]).psi is not None


def test_an_outage_shows() -> None:
    found = _describe(np.where(np.arange(1000) < 250, np.nan, RNG.normal(size=1000)))

    assert found.missing_share == 0.25
    assert found.psi is not None
    assert found.psi > 0.25
    assert found.kolmogorov_smirnov is not None
    assert found.kolmogorov_smirnov < 0.1


def test_categories_have_no_order_and_so_no_distance_along_it() -> None:
    kinds = RNG.integers(0, 4, 2000).astype(float)
    found = _describe(kinds, Reference.fit([Channel("kind", kinds, "categorical")]))

    assert found.kolmogorov_smirnov is None
    assert found.wasserstein_iqr is None
    assert found.chi2 == pytest.approx(0)


def test_a_constant_feature_is_described_too() -> None:
    constant = Reference.fit([Channel("x", np.ones(500))])

    assert _describe(np.ones(300), constant).jensen_shannon == 0
    assert _describe(np.full(300, 2.0), constant).kolmogorov_smirnov == 1
