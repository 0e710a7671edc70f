"""The interval holds however often one looks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta, binom

from guards.quality.confidence import confidence_sequence

counts = st.integers(0, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
alphas = st.floats(0.001, 0.5)


@pytest.mark.parametrize("share", [0.5, 0.97])
def test_the_true_share_is_rarely_left_over_all_looks_together(share: float) -> None:
    """1,000 streams, looked at after every one of 1,000 outcomes."""
    alpha, streams, length = 0.1, 1000, 1000
    rng = np.random.default_rng(7)
    successes = (rng.uniform(size=(streams, length)) < share).cumsum(axis=1)
    # Whether n outcomes with k successes exclude the share depends on (k, n) only.
    excluded = {
        (k, n): not _holds(k, n, share, alpha)
        for n in range(1, length + 1)
        for k in np.unique(successes[:, n - 1]).tolist()
    }
    left = [
        any(excluded[k, n] for n, k in enumerate(stream, start=1)) for stream in successes.tolist()
    ]

    standard_error = np.sqrt(alpha * (1 - alpha) / streams)
    assert np.mean(left) <= alpha + standard_error
    # Looking once with a fixed-sample interval of the same level would be left far more often.
    assert np.mean(left) > alpha / 10


def _holds(successes: int, n: int, share: float, alpha: float) -> bool:
    low, high = confidence_sequence(successes, n, alpha=alpha)
    return low <= share <= high


@given(seen=counts, alpha=alphas)
def test_the_ends_enclose_the_estimate_within_zero_and_one(
    seen: tuple[int, int], alpha: float
) -> None:
    successes, n = seen
    low, high = confidence_sequence(successes, n, alpha=alpha)

    assert 0 <= low < high <= 1
    if n:
        assert low <= successes / n <= high
    assert (low == 0) == (successes == 0)
    assert (high == 1) == (successes == n)


@given(seen=counts, alpha=alphas)
def test_exchanging_the_outcomes_mirrors_the_interval(seen: tuple[int, int], alpha: float) -> None:
    successes, n = seen
    low, high = confidence_sequence(successes, n, alpha=alpha)

    assert confidence_sequence(n - successes, n, alpha=alpha) == pytest.approx((1 - high, 1 - low))


@given(seen=counts)
def test_more_certainty_asks_for_a_wider_interval(seen: tuple[int, int]) -> None:
    narrow = confidence_sequence(*seen, alpha=0.2)
    wide = confidence_sequence(*seen, alpha=0.01)

    assert wide[0] <= narrow[0]
    assert wide[1] >= narrow[1]


@given(seen=counts.filter(lambda seen: seen[0] > 0))
def test_the_wealth_against_the_lower_end_is_exactly_what_excludes_it(
    seen: tuple[int, int],
) -> None:
    """Written out with integers: mixture likelihood over likelihood equals 1/alpha."""
    successes, n = seen
    alpha = 0.05
    low, _ = confidence_sequence(successes, n, alpha=alpha)
    mixture = beta(0.5, 0.5)
    log_mixture = _log_mean_likelihood(successes, n, mixture)
    log_likelihood = successes * np.log(low) + (n - successes) * np.log1p(-low)

    assert log_mixture - log_likelihood == pytest.approx(np.log(1 / alpha), abs=1e-4)


def _log_mean_likelihood(successes: int, n: int, prior) -> float:  # type: ignore[no-untyped-def]
    """Mean likelihood under the prior, through the substitution share = sin²(x)."""
    peak = binom.logpmf(successes, n, successes / n)
    share = successes / n
    centre, width = np.arcsin(np.sqrt(share)), 12 / np.sqrt(n)
    ends = max(0, centre - width), min(np.pi / 2, centre + width)
    mean, _ = quad(
        lambda x: np.exp(binom.logpmf(successes, n, np.sin(x) ** 2) - peak) * 2 / np.pi, *ends
    )
    best = successes * np.log(share) + (0 if successes == n else (n - successes) * np.log1p(-share))
    return float(np.log(mean) + best)


def test_the_width_is_near_that_of_a_fixed_sample_interval() -> None:
    low, high = confidence_sequence(389, 397, alpha=0.05)
    fixed_low, fixed_high = np.asarray(beta.ppf([0.025, 0.975], [389, 390], [9, 8]))

    assert high - low < 2.2 * (fixed_high - fixed_low)


def test_without_outcomes_nothing_is_excluded() -> None:
    assert confidence_sequence(0, 0, alpha=0.05) == (0.0, 1.0)


def test_a_billion_outcomes_pin_the_share_down() -> None:
    low, high = confidence_sequence(999_000_000, 1_000_000_000, alpha=0.05)

    assert 0.99899 < low < 0.999 < high < 0.99901


@pytest.mark.parametrize(("successes", "n", "alpha"), [(-1, 5, 0.05), (6, 5, 0.05), (1, 5, 0.0)])
def test_impossible_counts_are_refused(successes: int, n: int, alpha: float) -> None:
    with pytest.raises(ValueError, match=f"{successes} of {n} successes"):
        confidence_sequence(successes, n, alpha=alpha)
